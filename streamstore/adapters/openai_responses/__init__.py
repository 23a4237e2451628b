"""OpenAI Responses: `adapter` takes the wire in, the other files are its parts."""

from .adapter import OpenAIResponsesAdapter, Resume

__all__ = ["OpenAIResponsesAdapter", "Resume"]
