"""AG-UI: `adapter` takes the wire in, the other files are its parts."""

from .adapter import AgUiAdapter

__all__ = ["AgUiAdapter"]
