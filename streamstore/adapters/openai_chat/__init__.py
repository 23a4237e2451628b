"""OpenAI Chat Completions: `adapter` takes the wire in, the other files are its parts."""

from .adapter import OpenAIChatAdapter

__all__ = ["OpenAIChatAdapter"]
