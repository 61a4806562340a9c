"""vizdash: a terminal dashboard for VNC desktops on a Slurm cluster."""

__version__ = "0.1.0"
