"""What runs jobs: Slurm, or this one machine."""

from vizdash.engines.base import Engine, EngineInfo

__all__ = ["Engine", "EngineInfo"]
