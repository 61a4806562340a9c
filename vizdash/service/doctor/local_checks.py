"""Checks of this machine: configuration, programs, session folder, audit log, browser."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from vizdash.config.load import config_files
from vizdash.errors import VizdashError, last_line
from vizdash.images import audit_log
from vizdash.model import RUNTIMES
from vizdash.service.doctor.checks import Case, Check
from vizdash.service.image_admin import ImageAdmin
from vizdash.sessions.browser import BrowserLocation, locate_browser, missing_browser
from vizdash.sessions.folder import job_record
from vizdash.sessions.start_plan import new_id
from vizdash.transport.base import Command
from vizdash.transport.local import LocalRunner
from vizdash.util.files import account_name

#: Programs for sessions on this machine: name, what it does, Debian package.
_LOCAL = (
    ("Xvnc", "is the X server of a desktop", "tigervnc-standalone-server"),
    ("vncpasswd", "writes the password file", "tigervnc-tools"),
    ("websockify", "serves the desktop to browsers", "websockify"),
    ("openbox", "is the window manager", "openbox"),
    ("xterm", "is the terminal", "xterm"),
    ("dbus-daemon", "is the bus of each session", "dbus-daemon"),
)
_SLURM = (
    ("sbatch", "starts sessions", "slurm-client"),
    ("squeue", "lists sessions", "slurm-client"),
    ("scontrol", "lists nodes", "slurm-client"),
    ("scancel", "stops sessions", "slurm-client"),
    ("ssh", "reaches sessions on nodes", "openssh-client"),
)


async def check_config(case: Case) -> str:
    """The configuration files that were read (an unusable one ends earlier)."""
    files = [str(path) for path in config_files(case.config_path) if path.is_file()]
    read = ", ".join(files) if files else "no file (all defaults)"
    host = f", login host {case.service.config.cluster.host}" if case.remote else ""
    return f"cluster {case.service.config.cluster.name}{host}, from {read}"


def program_check(name: str, purpose: str, package: str, needs: tuple[str, ...] = ()) -> Check:
    """A check that a program is on PATH where commands run."""

    async def run(case: Case) -> str:
        if case.service.has(name):
            path = await _find_program(case, name)
            return f"{path} ({purpose})" if path else purpose
        if case.remote:
            fix = f"it is not on your PATH on {case.remote}: load its module there"
        else:
            fix = f"put it on your PATH (load its module), or apt-get install {package}"
        raise VizdashError(f"{name} is not on PATH", f"it {purpose}", fix)

    return Check(name, run, needs)


async def _find_program(case: Case, name: str) -> str:
    """A program's path where commands run; empty where that cannot be asked."""
    words = ("sh", "-c", 'command -v "$1"', "sh", name)
    with contextlib.suppress(VizdashError):
        result = await case.service.images.shell.runner.run(Command(words))
        return last_line(result.stdout) if result.code == 0 else ""
    return ""


def program_checks(*, local: bool, needs: tuple[str, ...] = ()) -> tuple[Check, ...]:
    """The checks of the programs that the engine needs."""
    return tuple(program_check(*row, needs=needs) for row in (_LOCAL if local else _SLURM))


async def check_novnc(case: Case) -> str:
    """The noVNC page that browsers load."""
    page = Path("/usr/share/novnc/vnc.html")
    if not page.is_file():
        raise VizdashError(f"no {page}", "", "apt-get install novnc (or: make system)")
    return str(page)


async def check_runtime(case: Case) -> str:
    """The container runtime of this machine."""
    runner = LocalRunner()
    name = next((name for name in RUNTIMES if runner.has(name)), "")
    if not name:
        return "not installed (optional: sessions from images)"
    result = await runner.run(Command((name, "--version")))
    return result.check(name).stdout.strip()


async def check_session_folder(case: Case) -> str:
    """Make a session folder as ``start`` does, for the checks on the node."""
    case.session_id = new_id()
    record = job_record(case.app.name, "", "")
    case.folder = await case.service.store.make(case.session_id, record)
    return case.folder.rpartition("/")[0]


async def check_audit_log(case: Case) -> str:
    """Whether a deploying account can write the audit log."""
    if not await ImageAdmin(case.service).is_deploy_admin():
        return "not needed: you cannot deploy images"
    log = case.service.config.cluster.audit_log
    if why := await asyncio.to_thread(audit_log.why_not_writable, log):
        folder = Path(log).expanduser().parent
        fix = (
            f"sudo install -d -m 755 -o {account_name()} {folder} "
            "(until then, changes go to a log of your own)"
        )
        raise VizdashError(why, "", fix)
    return log


async def check_browser(case: Case) -> str:
    """The browser that desktops are shown in."""
    location = locate_browser()
    if location is BrowserLocation.HERE:
        return "here"
    if location is BrowserLocation.HELPER:
        return "$BROWSER or your editor opens it on your own computer"
    if location is BrowserLocation.NONE and (name := missing_browser()):
        fix = "install it, set BROWSER to another, or unset it: then `vizdash open` prints a link"
        raise VizdashError("$BROWSER cannot be started", f"{name}: no such program here", fix)
    return "none here: `vizdash open` prints a command for your own computer, and a link"
