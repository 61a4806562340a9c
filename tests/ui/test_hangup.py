"""The terminal goes away while a dialog is open: nothing is half done, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui.fake import FakeImageAdmin, app_on, busy
from tests.ui.pilot import begin, press, sees, until
from tests.ui.test_driver import Pty
from vizdash.actions import REGISTRY
from vizdash.cli.exit import on_signals
from vizdash.engines.local import records
from vizdash.engines.local.machine import boot_id, start_ticks
from vizdash.images.copy import SourceImage
from vizdash.model import ImageRoot, JobRequest, Resources
from vizdash.service.image_admin import DeployPlan
from vizdash.sessions import comment

_DEADLINE_S = 90.0
_ID = "3f9a01bc"
_ESCAPES = re.compile(rb"\x1b(?:\[[^a-zA-Z]*[a-zA-Z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")


class RecordedTerminal(Pty):
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
    records.write_record(folder, JobRequest(name, "", _ID, "desktop", claim, "/dev/null", size))
    (folder / "supervisor").write_text(f"{pid} {start_ticks(pid)} {boot_id()}\n")
    (folder / "status").write_text(f"STATE=ready\nAPP=desktop\nJOB_ID={_ID}\n")
    (folder / "job.log").write_text("a line of the log\n")
    return folder


#: Keys that lead to a dialog, and words of each on the way; by the action's id, or another name.
_DIALOGS = {
    "stop": (("x", "Stop this session?"),),
    "time_limit": (("w", "Time limit"),),
    "message": (("m", "Message to a desktop"), ("half a sent", "half a sent")),
    "share": (("W", "Share a desktop"),),
    "join": (("J", "Shared with you"),),
    "start": (("n", "enter starts"),),
    "repeat": (("A", "enter starts"),),
    "save": (("n", "enter starts"), ("\x13", "a name for this size")),
    "copy": (("c", "Copy"),),
    "logs": (("l", "a line of the log"),),
    "open_with": (("O", "native viewer"),),
    "search": (("l", "a line of the log"), ("/", "search")),
    "details": (("v", "Back"),),
    "build": (("b", "Build"),),
    "matrix": (("M", "Images by node"),),
    "history": (("h", "6 hours"),),
    "commands": (("C", "Commands"),),
    "tunnels": (("t", "esc goes back"),),
    "clusters": (("@", "Clusters"),),
    "help": (("?", "esc closes"),),
    "filter": (("/", "state:"),),
    "palette": (("\x10", "Search"),),
}
#: Actions that open no dialog.
_NO_DIALOG = {
    "clear", "extend", "focus_images", "focus_nodes", "focus_sessions", "mark", "mine", "open",
    "refresh", "sort", "sort_reverse", "ssh", "theme", "upgrade",
}  # fmt: skip
#: Actions whose dialog needs Slurm's operators, images on nodes, or an open desktop: their keys,
#: and words of the dialog.
_OF_OPERATORS: dict[str, tuple[tuple[str, ...], str]] = {
    "drain": (("1", "D", *"fan"), "Drain this node?"),
    "resume": (("1", "down", "down", "down", "U"), "Resume this node?"),
    "deploy": (("3", "d", "enter", "enter"), "Deploy to all 2 nodes?"),
    "rollback": (("3", "r"), "Roll back?"),
    "quit": (("2", "down", "down", "o", "q"), "Quit vizdash?"),
}


def test_every_action_is_known_here() -> None:
    """One that is new opens a dialog, which is tried below, or none."""
    tried = {action.id for action in REGISTRY} & _DIALOGS.keys()
    assert {action.id for action in REGISTRY} == tried | _NO_DIALOG | _OF_OPERATORS.keys()


@pytest.mark.parametrize("dialog", _DIALOGS)
def test_a_terminal_that_goes_away_ends_it_and_nothing_else(
    dialog: str, tmp_path: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    folder = _ready_session(tmp_path, supervisor.pid)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    terminal = RecordedTerminal(tmp_path, 40, 150)
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


@pytest.fixture
def signals() -> Iterator[None]:
    """The handlers of signals are those of before after the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("action", _OF_OPERATORS)
async def test_a_signal_in_a_dialog_of_operators_ends_it_and_nothing_else(
    action: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel sends it for a terminal that goes away, to the handler of the program."""
    now = replace(busy(), image_roots=tuple(ImageRoot(n.name) for n in busy().nodes))
    app, service = app_on(now, admin=True, node_admin=True)
    changed: list[str] = []

    async def change(*_: object, **__: object) -> None:
        changed.append(action)

    monkeypatch.setattr(FakeImageAdmin, "plan_deploy", _plan_deploy)
    monkeypatch.setattr(FakeImageAdmin, "deploy", change)
    monkeypatch.setattr(FakeImageAdmin, "rollback", change)
    keys, words = _OF_OPERATORS[action]
    async with app.run_test(size=(120, 40)) as pilot:
        await begin(pilot)
        await until(pilot, lambda: app.dashboard.image_rights == "")
        on_signals(app.exit)
        await press(pilot, *keys)
        await until(pilot, lambda: sees(pilot, words))
        os.kill(os.getpid(), number)
        await until(pilot, lambda: app._exit)
    assert app.return_value is None  # tunnels are not kept in the background
    assert not [*service.fake_engine.changes, *service.stopped, *changed]
    assert all(route.closed for route in service.routes)


async def _plan_deploy(self: FakeImageAdmin, app: str, **_: object) -> DeployPlan:
    return DeployPlan(
        SourceImage(app, "2.2", "ab" * 32, 1 << 30, "/store/x.sif"), ("viz-node001", "viz-node002")
    )
