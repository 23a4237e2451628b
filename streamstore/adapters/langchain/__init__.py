"""LangChain and LangGraph: `adapter` takes the wire in, the other files are its parts."""

from .adapter import LangChainAdapter

__all__ = ["LangChainAdapter"]
