"""Typed configuration: built-in defaults < site file < the user's < environment < flags."""

from vizdash.config.load import Explained, load
from vizdash.config.model import App, Build, Cluster, Config, Deploy, Ui

__all__ = ["App", "Build", "Cluster", "Config", "Deploy", "Explained", "Ui", "load"]
