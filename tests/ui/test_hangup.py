"""The terminal goes away while a dialog is open: nothing is done by halves, and nothing stays."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.test_driver import Pty
from vizdash.engines.local import records
from vizdash.engines.local.machine import boot_id, start_ticks
from vizdash.model import JobRequest, Resources
from vizdash.sessions import comment

_DEADLINE_S = 90.0
_ID = "3f9a01bc"
_ESCAPES = re.compile(rb"\x1b(?:\[[^a-zA-Z]*[a-zA-Z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")


class Terminal(Pty):
    """Remembers all that was written, without control sequences."""

    seen = b""

    def wait(self, *words: str) -> None:
        """Until all of these have been painted since the last call."""
        until = time.monotonic() + _DEADLINE_S
        while not all(word.encode() in _ESCAPES.sub(b"", self.seen) for word in words):
            assert time.monotonic() < until, _ESCAPES.sub(b"", self.seen)[-3000:].decode()
            self.seen += os.read(self.end, 65536)
        self.seen = b""

    def press(self, keys: str) -> None:
        os.write(self.end, keys.encode())


def _members(session: int) -> list[str]:
    """The processes of a terminal session (proc(5), stat field 6), as ``PID NAME`` lines."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            stat = (place / "stat").read_text(errors="replace")
        except OSError:
            continue
        name, fields = stat.partition("(")[2].rpartition(")")[0], stat.rpartition(")")[2].split()
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(f"{place.name} {name}")
    return found


@pytest.fixture
def supervisor() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for a session's supervisor, which a stop would end."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def _ready_session(home: Path, pid: int) -> Path:
    """A session's folder as a ready session has it."""
    folder = home / ".local/state/vizdash/sessions" / _ID
    folder.mkdir(parents=True)
    size = Resources(1, 64, 0, 7200)
    claim = comment.encode(comment.Claim(_ID, "desktop", "", "ready"))
    name = f"vizdash-desktop-{_ID}"
    records.write(folder, JobRequest(name, "", _ID, "desktop", claim, "/dev/null", size))
    (folder / "supervisor").write_text(f"{pid} {start_ticks(pid)} {boot_id()}\n")
    (folder / "status").write_text(f"STATE=ready\nAPP=desktop\nJOB_ID={_ID}\n")
    (folder / "job.log").write_text("a line of the log\n")
    return folder


#: Keys that lead to a dialog, and words of each on the way.
_DIALOGS = {
    "stop": (("x", "Stop this session?"),),
    "time": (("w", "Time limit"),),
    "message": (("m", "Message to a desktop"), ("half a sent", "half a sent")),
    "start": (("n", "enter starts"),),
    "save": (("n", "enter starts"), ("\x13", "a name for this size")),
    "copy": (("c", "Copy"),),
    "log": (("l", "a line of the log"),),
    "search": (("l", "a line of the log"), ("/", "search")),
    "look": (("v", "Back"),),
    "build": (("b", "Build"),),
    "matrix": (("M", "Images × nodes"),),
    "history": (("h", "6 hours"),),
    "commands": (("C", "Commands"),),
    "tunnels": (("t", "esc goes back"),),
    "clusters": (("@", "Clusters"),),
    "help": (("?", "esc closes"),),
    "filter": (("/", "state:"),),
    "palette": (("\x10", "Search"),),
}


@pytest.mark.parametrize("dialog", _DIALOGS)
def test_a_terminal_that_goes_away_ends_it_and_nothing_else(
    dialog: str, tmp_path: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    folder = _ready_session(tmp_path, supervisor.pid)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    terminal = Terminal(tmp_path, 40, 150)
    try:
        terminal.wait("ready", "desktop", "Sessions")
        for keys, words in _DIALOGS[dialog]:
            terminal.press(keys)
            terminal.wait(words)
        terminal.close()
        terminal.code()
        until = time.monotonic() + _DEADLINE_S
        while left := _members(terminal.process.pid):
            assert time.monotonic() < until, left
            time.sleep(0.05)
    finally:
        terminal.process.kill()
        terminal.process.wait()
        if terminal.end >= 0:
            os.close(terminal.end)
    assert supervisor.poll() is None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [_ID]
    assert not list(tmp_path.rglob("presets-*.json"))
