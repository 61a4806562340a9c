"""vizdash's verbs on the login host, called as a user's script calls them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests import vizdash_command
from tests.lab import Host, Lab
from tests.vizdash_command import printed_address, ready_session, session_rows
from tests.waiting import wait_until


def run_vizdash(
    lab: Lab,
    *words: str,
    user: str = "alice",
    check: bool = True,
    timeout: float = 300,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run one verb on the login host."""
    return lab.login.run(["vizdash", *words], user=user, check=check, timeout=timeout, env=env)


def start_session(lab: Lab, *words: str, user: str = "alice") -> dict[str, Any]:
    """Start a session and return it, ready, as JSON."""
    return ready_session(run_vizdash(lab, "start", *words, "--wait", "--json", user=user))


def list_sessions(lab: Lab, user: str = "alice", *words: str) -> list[dict[str, Any]]:
    """The rows of ``vizdash sessions --json``."""
    return session_rows(run_vizdash(lab, "sessions", "--json", *words, user=user))


def wait_for_state(
    lab: Lab, session_id: str, state: str, user: str = "alice", seconds: float = 180
) -> dict[str, Any]:
    """Wait until a session has this state; its row."""
    return vizdash_command.wait_for_state(
        lambda: list_sessions(lab, user), session_id, state, seconds
    )


@contextmanager
def open_session(lab: Lab, session_id: str, user: str = "alice") -> Iterator[str]:
    """Run ``vizdash open --print``; yields the address while the command runs."""
    process = lab.login.popen(["vizdash", "open", session_id, "--print"], user=user)
    with printed_address(process) as url:
        yield url


def find_leftovers(host: Host, user: str) -> str:
    """A user's processes, sockets and temporary files on a host, as lines; empty for none.

    Without the mouse pointer theme of xterm (init_colored_cursor), which an xterm that is stopped
    while it starts leaves behind.
    """
    script = (
        f"find /tmp /dev/shm /var/tmp -user {user} "
        "! -path '*/.X11-unix' ! -path '/tmp/xterm??????*'; "
        "ss -xlH | grep -E 'vizdash|X11-unix/X' ; true"
    )
    return host.processes(user) + host.run(script).stdout


def wait_nothing_left(host: Host, user: str = "alice") -> None:
    """Wait until a user has no processes, sockets and temporary files on a host."""
    wait_until(
        lambda: find_leftovers(host, user) == "",
        f"end of all on {host.name}",
        seconds=300,
        seen=lambda: find_leftovers(host, user),
    )
