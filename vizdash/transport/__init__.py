"""How commands and byte streams reach the cluster."""

from vizdash.transport.base import Command, CommandRunner, Forward, PortForwarder, Result

__all__ = ["Command", "CommandRunner", "Forward", "PortForwarder", "Result"]
