"""ACP: `adapter` takes JSON-RPC objects in; the other files are its parts."""

from .adapter import AcpAdapter

__all__ = ["AcpAdapter"]
