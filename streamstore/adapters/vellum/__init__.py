"""vellum-assistant: `adapter` takes stamped blocks in, `envelopes` what replaced them."""

from .adapter import VellumAdapter
from .envelopes import VellumV2Adapter
from .ids import time_of_id

__all__ = ["VellumAdapter", "VellumV2Adapter", "time_of_id"]
