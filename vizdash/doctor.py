"""Looks at what a session needs on this machine, and names what is missing."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from vizdash.errors import VizdashError
from vizdash.files import account_name
from vizdash.images import audit
from vizdash.imaging import Imaging
from vizdash.model import RUNTIMES
from vizdash.service import Service
from vizdash.sessions.folder import make_root, sessions_root
from vizdash.sessions.viewer import have_browser
from vizdash.transport.base import Command
from vizdash.transport.local import LocalRunner

#: What the local engine's host runtime needs: program, what it is for, Debian's package.
_LOCAL = (
    ("Xvnc", "the X server of a desktop", "tigervnc-standalone-server"),
    ("vncpasswd", "its password file", "tigervnc-tools"),
    ("websockify", "the browser's way to it", "websockify"),
    ("openbox", "the window manager", "openbox"),
    ("xterm", "the terminal", "xterm"),
    ("dbus-daemon", "a bus for each session", "dbus-daemon"),
)
_SLURM = (
    ("sbatch", "to start sessions", "slurm-client"),
    ("squeue", "to see sessions", "slurm-client"),
    ("scontrol", "to see nodes", "slurm-client"),
    ("scancel", "to stop sessions", "slurm-client"),
    ("ssh", "to reach sessions on nodes", "openssh-client"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    found: str
    mend: str = ""


async def examine(service: Service) -> tuple[Finding, ...]:
    """Everything that a session from here needs, in the order in which it is needed."""
    runner = LocalRunner()
    findings = [await _engine(service)]
    local = service.engine.name == "local"
    if service.remote is not None:
        if via := service.remote.link.via:
            findings.append(Finding("login", findings[0].ok, f"{service.remote.link.host} {via}"))
        if not findings[0].ok:
            return tuple(findings)
    for program, purpose, package in _LOCAL if local else _SLURM:
        there = service.has(program)
        mend = f"apt-get install {package} (or: make system)"
        if service.remote is not None:
            mend = f"it is not on your PATH on {service.remote.link.host}: load its module there"
        findings.append(Finding(program, there, purpose, mend))
    if local:
        page = Path("/usr/share/novnc/vnc.html")
        findings.append(
            Finding("noVNC", page.is_file(), str(page), "apt-get install novnc (or: make system)")
        )
        runtime = next((name for name in RUNTIMES if runner.has(name)), RUNTIMES[0])
        findings.append(await _version(runner, runtime, "optional: sessions from images"))
    if not local and service.config.cluster.tunnel != "srun":
        findings += await _node_ssh(service)
    if service.remote is None:
        findings.append(await asyncio.to_thread(_state_folder, service.config.cluster.state_dir))
        if not local and await Imaging(service).named():
            log = service.config.cluster.audit_log
            findings.append(await asyncio.to_thread(_audit_log, log))
    browser = have_browser()
    words = "here" if browser else "none here: vizdash shows the address to open instead"
    findings.append(Finding("browser", True, words))
    return tuple(findings)


async def _engine(service: Service) -> Finding:
    try:
        info = await service.info()
        nodes = await service.engine.nodes()
    except VizdashError as e:
        mend = "is the cluster up, and this machine a part of it?"
        return Finding("engine", False, e.line, e.mend or mend)
    words = f"{info.name} {info.version} on {info.cluster}, {len(nodes)} nodes, you are {info.user}"
    return Finding("engine", True, words)


async def _node_ssh(service: Service) -> list[Finding]:
    """Whether ssh to the first node that is up gets there: sessions and images are reached by it.

    A node that takes no user's key is no fault (desktops are reached by srun then); one whose host
    key nobody here knows is.
    """
    try:
        nodes = [node.name for node in await service.engine.nodes() if node.usable]
    except VizdashError:
        return []  # the engine's own finding says it
    shell = service.images.shell
    for node in nodes[:1]:
        try:
            if shell.hosts:
                await shell.hosts.find(node)
            result = await shell.runner.run(Command(shell.argv(node, ("true",)), timeout_s=20))
        except VizdashError as e:
            return [Finding("ssh to nodes", False, e.line, e.mend)]
        if result.code == 0:
            return [Finding("ssh to nodes", True, f"{node} lets you in")]
        error = shell.failure(node, 255, result.stderr)
        if "ermission denied" in result.stderr:
            words = f"{node} takes no ssh of yours: desktops are reached by srun"
            return [Finding("ssh to nodes", True, words)]
        return [Finding("ssh to nodes", False, f"{error.what}: {error.why}", error.mend)]
    return []


async def _version(runner: LocalRunner, program: str, otherwise: str) -> Finding:
    if not runner.has(program):
        return Finding(program, True, f"not installed ({otherwise})")
    try:
        result = await runner.run(Command((program, "--version")))
    except VizdashError as e:
        return Finding(program, False, e.line, f"does `{program} --version` work?")
    return Finding(program, True, result.stdout.strip())


def _state_folder(state_dir: str) -> Finding:
    """The folder of sessions must be ours and writable."""
    root = sessions_root(state_dir)
    try:
        make_root(root, state_dir)
    except OSError as e:
        mend = "see state_dir in the config" if state_dir else "check your home"
        return Finding("session folder", False, f"{e.filename or root}: {e.strerror}", mend)
    good = os.access(root, os.W_OK) and root.stat().st_uid == os.geteuid()
    return Finding("session folder", good, str(root), "it must be yours and writable")


def _audit_log(log: str) -> Finding:
    """Who deploys must be able to write down what they did, where all can read it."""
    folder = Path(log).expanduser().parent
    account = account_name()
    mend = f"sudo install -d -m 755 -o {account} {folder} (else it goes to a log of your own)"
    why = audit.refusal(log)
    return Finding("audit log", not why, why or log, mend)
