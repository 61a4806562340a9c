"""A real cluster on one machine: Slurm, Apptainer, TigerVNC, noVNC, OpenSSH, several hosts."""

from tests.lab.cluster import Lab, probe
from tests.lab.host import CommandError, Host

__all__ = ["CommandError", "Host", "Lab", "probe"]
