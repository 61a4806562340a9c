"""From a configuration to a Service: picks the engine and its transport."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs

from vizdash.config import Cluster, Config
from vizdash.engines import Engine
from vizdash.engines.local import LocalEngine
from vizdash.engines.slurm import SlurmEngine
from vizdash.engines.slurm.commands import step
from vizdash.engines.slurm.refusals import RETRIES
from vizdash.errors import VizdashError
from vizdash.files import account_name, make_private, read_own, write_whole
from vizdash.service import Service
from vizdash.sessions.folder import sessions_root
from vizdash.sessions.store import RemoteStore
from vizdash.transport.base import Command, CommandRunner, PipeRunner, PortForwarder, Prompter
from vizdash.transport.forward import HereForwarder, SshForwarder
from vizdash.transport.local import LocalRunner
from vizdash.transport.mux import StepForwarder
from vizdash.transport.nodehosts import NodeHosts
from vizdash.transport.record import Recorder
from vizdash.transport.ways import AutoForwarder

#: Words of sinfo on a machine that has Slurm's programs and belongs to no cluster.
_NOWHERE = ("could not establish a configuration source", "unable to process configuration file")


async def connect(
    config: Config, prompter: Prompter, runner: CommandRunner | None = None
) -> Service:
    """The service for the chosen cluster, with Slurm where its ``sinfo`` answers, else local.

    A cluster with a ``host`` is reached by SSH, when something is first asked of it; ``prompter``
    asks a person what the login wants to know.
    """
    if config.cluster.host and config.cluster.engine != "local":
        return _remote(config, prompter)
    plain = runner or LocalRunner()
    commands = Recorder(plain)
    wanted = config.cluster.engine
    if wanted == "auto":
        wanted = "slurm" if await slurm_answers(commands) else "local"
    if wanted == "local":
        engine: Engine = LocalEngine(sessions_root(config.cluster.state_dir))
        return Service(config, engine, commands, HereForwarder())
    engine = SlurmEngine(commands, user=account_name())
    hosts = NodeHosts(commands, engine.nodes)
    ways: dict[str, PortForwarder] = {"ssh": SshForwarder(hosts=hosts)}
    if isinstance(plain, PipeRunner):
        ways["srun"] = StepForwarder(commands, step)
    return Service(config, engine, commands, _ways(config.cluster, ways), hosts=hosts)


def _remote(config: Config, prompter: Prompter) -> Service:
    from vizdash.transport.ssh.link import SshLink
    from vizdash.transport.ssh.runner import SshRunner
    from vizdash.transport.ssh.ways import HopForwarder, LoginSshForwarder, SshRemote

    cluster = config.cluster
    link = SshLink(cluster.host, prompter, forward_agent=cluster.forward_agent, ssh=cluster.ssh)
    runner = SshRunner(link)
    recorder = Recorder(runner)
    engine = SlurmEngine(recorder, user="")
    hosts = NodeHosts(recorder, engine.nodes)
    ways: dict[str, PortForwarder] = {
        "ssh": LoginSshForwarder(runner, hosts=hosts),
        "srun": StepForwarder(runner, step, lambda: link.current),
        "hop": HopForwarder(runner, hosts=hosts),
    }
    return Service(
        config,
        engine,
        recorder,
        _ways(config.cluster, ways),
        store=RemoteStore(Recorder(runner), config.cluster.state_dir),
        remote=SshRemote(runner),
        hosts=hosts,
    )


def _ways(cluster: Cluster, ways: dict[str, PortForwarder]) -> AutoForwarder:
    """The ways that this cluster may take, beginning with the one that worked last."""
    only = "" if cluster.tunnel == "auto" or cluster.tunnel not in ways else cluster.tunnel
    memory = Path(platformdirs.user_cache_dir("vizdash")) / f"tunnel-{cluster.name}"
    first = (read_own(memory) or "").strip()
    since = memory.lstat().st_mtime if first else 0.0
    return AutoForwarder(ways, only=only, first=first, since=since, remember=_writer(memory))


def _writer(memory: Path) -> Callable[[str], None]:
    def write(way: str) -> None:
        try:
            make_private(memory.parent)
            write_whole(memory, f"{way}\n")
        except OSError:
            return  # a convenience: it is found again by trying

    return write


async def slurm_answers(runner: CommandRunner) -> bool:
    """Whether this machine belongs to a Slurm cluster.

    A controller that is down, a munged that is dead or a wrong key is no reason to start desktops
    on a login node, so they count.
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
