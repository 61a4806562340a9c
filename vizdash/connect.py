"""From a configuration to a Service: picks the engine and its transport."""

from __future__ import annotations

import getpass

from vizdash.config import Config
from vizdash.engines import Engine
from vizdash.engines.local import LocalEngine
from vizdash.engines.slurm import SlurmEngine
from vizdash.errors import VizdashError
from vizdash.service import Service
from vizdash.sessions.folder import sessions_root
from vizdash.transport.base import Command, CommandRunner
from vizdash.transport.forward import HereForwarder, SshForwarder
from vizdash.transport.local import LocalRunner

#: Words of sinfo on a cluster whose controller does not answer: still a cluster.
_DOWN = ("contact slurm controller", "connection refused", "timed out", "no route")


async def connect(config: Config, runner: CommandRunner | None = None) -> Service:
    """The service for the chosen cluster, with Slurm where its ``sinfo`` answers, else local."""
    commands = runner or LocalRunner()
    wanted = config.cluster.engine
    if wanted == "auto":
        wanted = "slurm" if await slurm_answers(commands) else "local"
    if wanted == "local":
        engine: Engine = LocalEngine(sessions_root())
        return Service(config, engine, commands, HereForwarder())
    engine = SlurmEngine(commands, user=getpass.getuser())
    return Service(config, engine, commands, SshForwarder())


async def slurm_answers(runner: CommandRunner) -> bool:
    """Whether this machine belongs to a Slurm cluster.

    A controller that is down is no reason to start desktops on a login node, so it counts.
    """
    if not runner.has("sinfo"):
        return False
    try:
        result = await runner.run(Command(("env", "LC_ALL=C", "sinfo", "-h", "-o", "%P")))
    except VizdashError:
        return True
    return result.code == 0 or any(word in result.stderr.lower() for word in _DOWN)
