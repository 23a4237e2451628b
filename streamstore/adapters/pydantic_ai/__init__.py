"""Pydantic-ai: `adapter` takes the wire in, the other files are its parts."""

from .adapter import PydanticAIAdapter

__all__ = ["PydanticAIAdapter"]
