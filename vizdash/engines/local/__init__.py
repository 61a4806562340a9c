"""The embedded engine: this machine is the one node."""

from vizdash.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
