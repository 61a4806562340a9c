"""Whether background processes survive the user's logout.

systemd-logind ends the processes of a login session where KillUserProcesses is set
(logind.conf(5)), and those of the user's service manager with the last session of a user who does
not linger (loginctl(1), enable-linger).
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from vizdash.errors import VizdashError
from vizdash.transport.base import Command, CommandRunner
from vizdash.util.files import account_name

_SESSION = re.compile(r"/session-[^/\n]+\.scope", re.MULTILINE)
_MANAGER = re.compile(r"/user@\d+\.service", re.MULTILINE)
_MANAGER_PROPERTIES = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
_STAY = "loginctl enable-linger; systemd-run --user --scope vizdash"
_TIMEOUT_S = 5.0


async def logout_warning(runner: CommandRunner, cgroup: str | None = None) -> str:
    """Why a background process ends at logout, and the fix; empty where it survives, as far as is
    known. ``cgroup`` is the text of /proc/self/cgroup (cgroups(7)); None reads it.
    """
    text = await asyncio.to_thread(_own_cgroup) if cgroup is None else cgroup
    if _MANAGER.search(text):
        user = await _properties(runner, account_name(), ("Linger",))
        if user.get("Linger") == "no":
            return "it ends when you log out (Linger=no): run `loginctl enable-linger` to keep it"
        return ""
    if not _SESSION.search(text):
        return ""
    manager = await _properties(runner, "", _MANAGER_PROPERTIES)
    if manager.get("KillUserProcesses") != "yes" or _spared(manager):
        return ""
    return f"logind ends it when you log out (KillUserProcesses=yes); to keep it: {_STAY}"


def _spared(manager: dict[str, str]) -> bool:
    """Whether logind kills other users' processes only (lists of names, separated by blanks)."""
    name = account_name()
    only = manager.get("KillOnlyUsers", "").split()
    return name in manager.get("KillExcludeUsers", "").split() or bool(only and name not in only)


async def _properties(runner: CommandRunner, user: str, names: tuple[str, ...]) -> dict[str, str]:
    """Properties of a user, or of logind itself; none where there is no logind."""
    argv = ("loginctl", "show-user", *([user] if user else []))
    argv += tuple(f"--property={name}" for name in names)
    if not runner.has("loginctl"):
        return {}
    try:
        result = await runner.run(Command(argv, timeout_s=_TIMEOUT_S))
    except VizdashError:
        return {}
    return dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)


def _own_cgroup() -> str:
    try:
        return Path("/proc/self/cgroup").read_text("utf-8", "replace")
    except OSError:
        return ""
