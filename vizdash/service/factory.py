"""From a configuration to a Service: picks the engine and its transport."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import platformdirs

from vizdash.config import Cluster, Config
from vizdash.engines import Engine
from vizdash.engines.slurm import SlurmEngine
from vizdash.engines.slurm.commands import step
from vizdash.engines.slurm.refusals import RETRIES
from vizdash.errors import TimedOut, VizdashError
from vizdash.service.service import Service
from vizdash.service.user_data import UserData
from vizdash.sessions.folder import sessions_root
from vizdash.sessions.folder_store import RemoteSessionStore
from vizdash.transport.base import Command, CommandRunner, PipeRunner, PortForwarder, Prompter
from vizdash.transport.forwarders import AutoForwarder, LocalForwarder, SshForwarder
from vizdash.transport.job_step import JobStepForwarder
from vizdash.transport.local import LocalRunner
from vizdash.transport.node_ssh import NodeHosts
from vizdash.transport.recorder import Recorder
from vizdash.util.files import FileAccess, account_name, make_private, read_own, write_whole

#: What sinfo prints on a machine that has Slurm's programs but belongs to no cluster.
_NOWHERE = ("could not establish a configuration source", "unable to process configuration file")


async def connect(
    config: Config,
    prompter: Prompter,
    runner: CommandRunner | None = None,
    *,
    user_data: UserData | None = None,
) -> Service:
    """The service for the chosen cluster, with Slurm where its ``sinfo`` answers, else local.

    A cluster with a ``host`` is reached by SSH, which connects at the first query; ``prompter``
    asks the user what the login needs. ``user_data`` has been read already.
    """
    if config.cluster.host and config.cluster.engine != "local":
        return await _remote(config, prompter, user_data)
    plain = runner or LocalRunner()
    commands = Recorder(plain)
    name = config.cluster.engine
    if name == "auto":
        name = "slurm" if await slurm_answers(commands) else "local"
    if name == "local":
        from vizdash.engines.local import LocalEngine

        engine: Engine = LocalEngine(sessions_root(config.cluster.state_dir))
        return Service(config, engine, commands, LocalForwarder(), user_data=user_data)
    engine = SlurmEngine(commands, user=account_name())
    hosts = NodeHosts(commands, engine.nodes)
    forwarders: dict[str, PortForwarder] = {"ssh": SshForwarder(hosts=hosts)}
    if isinstance(plain, PipeRunner):
        forwarders["srun"] = JobStepForwarder(commands, step)
    tunnels = await _auto_forwarder(config.cluster, forwarders)
    return Service(config, engine, commands, tunnels, hosts=hosts, user_data=user_data)


async def _remote(config: Config, prompter: Prompter, user_data: UserData | None) -> Service:
    from vizdash.transport.ssh.connection import SshConnection
    from vizdash.transport.ssh.forwarders import HopForwarder, LoginHostForwarder, SshRemote
    from vizdash.transport.ssh.runner import SshRunner

    cluster = config.cluster
    connection = SshConnection(
        cluster.host, prompter, forward_agent=cluster.forward_agent, ssh=cluster.ssh
    )
    runner = SshRunner(connection)
    recorder = Recorder(runner)
    engine = SlurmEngine(recorder, user="")
    hosts = NodeHosts(recorder, engine.nodes)
    forwarders: dict[str, PortForwarder] = {
        "ssh": LoginHostForwarder(runner, hosts=hosts),
        "srun": JobStepForwarder(runner, step, lambda: connection.current),
        "hop": HopForwarder(runner, hosts=hosts),
    }
    return Service(
        config,
        engine,
        recorder,
        await _auto_forwarder(config.cluster, forwarders),
        store=RemoteSessionStore(Recorder(runner), config.cluster.state_dir),
        remote=SshRemote(runner),
        hosts=hosts,
        user_data=user_data,
        hosts_forwarder=LoginHostForwarder(runner),
    )


async def _auto_forwarder(cluster: Cluster, forwarders: dict[str, PortForwarder]) -> AutoForwarder:
    """The forwarders that the configuration allows, beginning with the one that worked last."""
    only = "" if cluster.tunnel == "auto" or cluster.tunnel not in forwarders else cluster.tunnel
    last = _LastForwarder(cluster.name)
    first, since = await last.read()
    return AutoForwarder(forwarders, only=only, first=first, since=since, remember=last.remember)


class _LastForwarder:
    """The name of the forwarder that worked last, in a file. It only saves a try the next time, so
    that errors are ignored; the event loop does not wait for the home, which may hang.
    """

    def __init__(self, cluster_name: str) -> None:
        self._path = Path(platformdirs.user_cache_dir("vizdash")) / f"tunnel-{cluster_name}"
        self._files = FileAccess(str(self._path))
        self._writing: set[asyncio.Task[None]] = set()

    async def read(self) -> tuple[str, float]:
        """The name (empty: none), and when it was written, in seconds since the epoch."""
        try:
            return await self._files.run(self._read)
        except (OSError, TimedOut):
            return "", 0.0

    def _read(self) -> tuple[str, float]:
        name = (read_own(self._path) or "").strip()
        return name, self._path.lstat().st_mtime if name else 0.0

    def remember(self, name: str) -> None:
        """Write it, in the background."""
        task = asyncio.get_running_loop().create_task(self._write(name))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, name: str) -> None:
        with contextlib.suppress(OSError, TimedOut):
            await self._files.run(self._save, name)

    def _save(self, name: str) -> None:
        make_private(self._path.parent)
        write_whole(self._path, f"{name}\n")


async def slurm_answers(runner: CommandRunner) -> bool:
    """Whether this machine belongs to a Slurm cluster.

    It does also where slurmctld or munged is down or the key is wrong: then desktops must not start
    on a login node.
    """
    if not runner.has("sinfo"):
        return False
    try:
        asked = ("env", "LC_ALL=C", "sinfo", "-h", "-o", "%P")
        result = await runner.run(Command(asked, retries=RETRIES))
    except VizdashError:
        return True
    words = result.stderr.lower()
    return result.code != 127 and not any(part in words for part in _NOWHERE)
