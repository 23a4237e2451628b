"""Anthropic Messages: `adapter` takes the wire in, the other files are its parts."""

from .adapter import AnthropicAdapter

__all__ = ["AnthropicAdapter"]
