"""Slurm through its own commands: squeue, scontrol, sbatch, scancel (22.05 and newer)."""

from vizdash.engines.slurm.client import SlurmEngine
from vizdash.engines.slurm.reasons import describe_reason

__all__ = ["SlurmEngine", "describe_reason"]
