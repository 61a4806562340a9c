"""Checks of the machine that the person sits at."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vizdash.config.load import config_files
from vizdash.doctor.case import Case
from vizdash.doctor.check import Check
from vizdash.errors import VizdashError
from vizdash.files import account_name
from vizdash.images import audit
from vizdash.imaging import Imaging
from vizdash.model import RUNTIMES
from vizdash.sessions import submit
from vizdash.sessions.folder import job_record
from vizdash.sessions.viewer import Viewer, viewer
from vizdash.transport.base import Command
from vizdash.transport.local import LocalRunner

#: What the local engine's host runtime needs: program, what it is for, Debian's package.
_LOCAL = (
    ("Xvnc", "the X server of a desktop", "tigervnc-standalone-server"),
    ("vncpasswd", "its password file", "tigervnc-tools"),
    ("websockify", "serves the desktop to browsers", "websockify"),
    ("openbox", "the window manager", "openbox"),
    ("xterm", "the terminal", "xterm"),
    ("dbus-daemon", "a bus for each session", "dbus-daemon"),
)
_SLURM = (
    ("sbatch", "starts sessions", "slurm-client"),
    ("squeue", "lists sessions", "slurm-client"),
    ("scontrol", "lists nodes", "slurm-client"),
    ("scancel", "stops sessions", "slurm-client"),
    ("ssh", "reaches sessions on nodes", "openssh-client"),
)


async def config(case: Case) -> str:
    """Which files were read; one that can't be used never gets here."""
    files = [str(path) for path in config_files(case.config_path) if path.is_file()]
    read = ", ".join(files) if files else "no file, so all by default"
    host = f", login host {case.service.config.cluster.host}" if case.remote else ""
    return f"cluster {case.service.config.cluster.name}{host}, from {read}"


def program(name: str, purpose: str, package: str, needs: tuple[str, ...] = ()) -> Check:
    """Whether the machine that commands run on has a program."""

    async def run(case: Case) -> str:
        if case.service.has(name):
            return purpose
        if case.remote:
            fix = f"it is not on your PATH on {case.remote}: load its module there"
        else:
            fix = f"put it on your PATH (load its module), or apt-get install {package}"
        raise VizdashError(f"{name} is not on PATH", f"it {purpose}", fix)

    return Check(name, run, needs)


def programs(*, local: bool, needs: tuple[str, ...] = ()) -> tuple[Check, ...]:
    """The programs of the engine."""
    return tuple(program(*row, needs=needs) for row in (_LOCAL if local else _SLURM))


async def novnc(case: Case) -> str:
    """The page that browsers load."""
    page = Path("/usr/share/novnc/vnc.html")
    if not page.is_file():
        raise VizdashError(f"no {page}", "", "apt-get install novnc (or: make system)")
    return str(page)


async def runtime(case: Case) -> str:
    """What runs images on this machine."""
    runner = LocalRunner()
    name = next((name for name in RUNTIMES if runner.has(name)), "")
    if not name:
        return "not installed (optional: sessions from images)"
    result = await runner.run(Command((name, "--version")))
    return result.check(name).stdout.strip()


async def session_folder(case: Case) -> str:
    """A session's folder, as ``start`` makes it; it stays until the node has been shown it."""
    case.session_id = submit.new_id()
    record = job_record(case.app.name, "", "")
    case.folder = await case.service.store.make(case.session_id, record)
    return case.folder.rpartition("/")[0]


async def audit_log(case: Case) -> str:
    """Who deploys must be able to record what they did, where all can read it."""
    if not await Imaging(case.service).named():
        return "you do not deploy images: none needed"
    log = case.service.config.cluster.audit_log
    if why := await asyncio.to_thread(audit.refusal, log):
        folder = Path(log).expanduser().parent
        fix = (
            f"sudo install -d -m 755 -o {account_name()} {folder} (else it goes to a log of yours)"
        )
        raise VizdashError(why, "", fix)
    return log


async def browser(case: Case) -> str:
    """Where desktops are shown."""
    found = viewer()
    if found is Viewer.HERE:
        return "here"
    if found is Viewer.HELPER:
        return "$BROWSER or your editor opens it on your own computer"
    return "none here: `vizdash open` prints a line to run on your own computer, and a link"
