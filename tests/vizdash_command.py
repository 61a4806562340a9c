"""vizdash run as a command on any test machine: its sessions, their states and their addresses."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.waiting import wait_until

#: A session as ``--json`` shows it.
SessionRow = dict[str, Any]


def ready_session(done: subprocess.CompletedProcess[str]) -> SessionRow:
    """The session that ``vizdash start --wait --json`` printed. Fails unless it is ready."""
    session: SessionRow = json.loads(done.stdout)["session"]
    assert session["state"] == "ready", done.stderr
    return session


def session_rows(done: subprocess.CompletedProcess[str]) -> list[SessionRow]:
    """The sessions that ``vizdash sessions --json`` printed."""
    rows: list[SessionRow] = json.loads(done.stdout)["sessions"]
    return rows


def wait_for_state(
    list_sessions: Callable[[], list[SessionRow]], session_id: str, state: str, seconds: float
) -> SessionRow:
    """Wait until a session has this state; its row."""
    row: SessionRow = {}

    def reached() -> bool:
        row.update(next((r for r in list_sessions() if r["id"] == session_id), {}))
        return row.get("state") == state

    wait_until(reached, f"session {session_id} to be {state}", seconds, lambda: str(row))
    return row


@contextmanager
def printed_address(process: subprocess.Popen[str]) -> Iterator[str]:
    """The address that a running ``vizdash open --print`` printed; the command ends afterwards."""
    assert process.stdout is not None and process.stderr is not None
    errors: list[str] = []
    stderr = process.stderr
    reader = threading.Thread(target=lambda: errors.extend(stderr), daemon=True)
    reader.start()
    try:
        url = process.stdout.readline().strip()
        assert url, "".join(errors)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)
        reader.join(timeout=60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
