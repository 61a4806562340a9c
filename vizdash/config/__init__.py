"""Typed configuration: built-in defaults < site file < the user's < environment < flags."""

from vizdash.config.load import Explained, load
from vizdash.config.model import App, Cluster, Config

__all__ = ["App", "Cluster", "Config", "Explained", "load"]
