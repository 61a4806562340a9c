"""The log of what was run: private, bounded, without secrets, shown live when asked for."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vizdash import commandlog
from vizdash.errors import VizdashError
from vizdash.transport.base import Command
from vizdash.transport.local import LocalRunner
from vizdash.transport.record import Recorder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path / "vizdash" / "log" / "commands.log"
    commandlog.stop()


async def test_commands_with_their_outcome_and_time(place: Path) -> None:
    runner = Recorder(LocalRunner())
    commandlog.start()
    await runner.run(Command(("env", "LC_ALL=C", "sh", "-c", "exit 0")))
    await runner.run(Command(("sh", "-c", "echo no such thing >&2; exit 3"), input="PASSWORD=x"))
    with pytest.raises(VizdashError):
        await runner.run(Command(("no-such-program",)))
    commandlog.stop()
    first, second, third = place.read_text().splitlines()
    assert f" pid {os.getpid()} " in first
    assert first.endswith(" s exit 0: sh -c 'exit 0'")
    assert " s exit 3 (no such thing): sh -c " in second
    assert "no-such-program: no such program on this machine: no-such-program" in third
    assert "PASSWORD" not in second  # what is fed to a command stays out


def test_it_is_private_and_stays_small(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commandlog, "_MOST", 4000)
    old = os.umask(0)
    try:
        commandlog.start()
        for number in range(200):
            commandlog.record(["true", str(number), "." * 60], "exit 0")
        commandlog.stop()
    finally:
        os.umask(old)
    files = sorted(path.name for path in place.parent.iterdir())
    assert files == ["commands.log", "commands.log.1"]
    for path in place.parent.iterdir():
        assert path.stat().st_size <= 4000
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert " 199 " in place.read_text()


def test_no_secret_is_logged(place: Path) -> None:
    commandlog.start()
    commandlog.record("open http://localhost/vnc.html#password=geheim", "token: geheim")
    commandlog.stop()
    assert "geheim" not in place.read_text()


def test_it_is_shown_live(place: Path) -> None:
    live = io.StringIO()
    commandlog.start()
    commandlog.show(live)
    commandlog.record(["printf", "\x1b[2J"], "exit 0", 0.25)
    assert live.getvalue() == "vizdash: 0.250 s exit 0: printf '?[2J'\n"
    commandlog.stop()
    commandlog.record(["true"], "exit 0")
    assert "true" not in live.getvalue() + place.read_text()


def test_a_fork_writes_too(place: Path) -> None:
    """The process that keeps tunnels in the background is one."""
    commandlog.start()
    commandlog.record(["parent"], "exit 0")
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        commandlog.record(["child"], "exit 0")
        commandlog.stop()
        os.write(writing, b"x")
        os._exit(0)
    assert os.read(reading, 1) == b"x"
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    commandlog.stop()
    assert {line.split()[-1] for line in place.read_text().splitlines()} == {"parent", "child"}


def test_a_home_that_takes_nothing_keeps_nobody(place: Path, tmp_path: Path) -> None:
    (tmp_path / "vizdash").write_text("a file where the folder should be")
    commandlog.start()
    commandlog.record(["true"], "exit 0")
    commandlog.stop()
    assert not place.exists()
