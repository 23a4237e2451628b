"""Opencode V2: `adapter` takes the wire in, the other files are its parts."""

from .adapter import OpencodeV2Adapter

__all__ = ["OpencodeV2Adapter"]
