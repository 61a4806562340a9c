"""Typed configuration: built-in defaults < site file < the user's < environment < flags."""

from vizdash.config.explain import BUILT_IN, Explained
from vizdash.config.load import load
from vizdash.config.model import App, Build, Cluster, Config, Deploy, UiSettings

__all__ = [
    "BUILT_IN",
    "App",
    "Build",
    "Cluster",
    "Config",
    "Deploy",
    "Explained",
    "UiSettings",
    "load",
]
