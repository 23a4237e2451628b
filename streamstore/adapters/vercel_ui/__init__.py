"""Vercel AI SDK, UI message stream: `adapter` takes the wire in, the other files are its parts."""

from .adapter import VercelUIAdapter

__all__ = ["VercelUIAdapter"]
