"""The log of commands: private, bounded, without secrets, printed live on request."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vizdash.errors import VizdashError
from vizdash.transport.base import Command
from vizdash.transport.local import LocalRunner
from vizdash.transport.recorder import Recorder
from vizdash.util import command_log


@pytest.fixture(autouse=True)
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(command_log, "_LAST_S", 60.0)
    yield tmp_path / "vizdash" / "log" / "commands.log"
    command_log.stop()


async def test_commands_with_their_outcome_and_time(log_file: Path) -> None:
    runner = Recorder(LocalRunner())
    command_log.start()
    await runner.run(Command(("env", "LC_ALL=C", "sh", "-c", "exit 0")))
    await runner.run(Command(("sh", "-c", "echo no such thing >&2; exit 3"), input="PASSWORD=x"))
    with pytest.raises(VizdashError):
        await runner.run(Command(("no-such-program",)))
    command_log.stop()
    first, second, third = log_file.read_text().splitlines()
    assert f" pid {os.getpid()} " in first
    assert first.endswith(" s exit 0: sh -c 'exit 0'")
    assert " s exit 3 (no such thing): sh -c " in second
    assert "no-such-program: no such program on this machine: no-such-program" in third
    assert "PASSWORD" not in second  # what is fed to a command stays out


def test_it_is_private_and_stays_small(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_log, "_MOST", 4000)
    old = os.umask(0)
    try:
        command_log.start()
        for number in range(200):
            command_log.record(["true", str(number), "." * 60], "exit 0")
        command_log.stop()
    finally:
        os.umask(old)
    files = sorted(path.name for path in log_file.parent.iterdir())
    assert files == ["commands.log", "commands.log.1"]
    for path in log_file.parent.iterdir():
        assert path.stat().st_size <= 4000
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert " 199 " in log_file.read_text()


@pytest.mark.parametrize(
    "argv",
    [
        "open http://localhost/vnc.html#password=geheim",
        ["tool", "--db-password", "geheim", "--loud"],
        ["sbatch", "--export=ALL,LICENCE=geheim", "job.sh"],
        ["sbatch", "--export", "LICENCE=geheim", "job.sh"],
        ["curl", "https://anna:geheim@example.org/"],
    ],
)
def test_no_secret_is_logged(log_file: Path, argv: str | list[str]) -> None:
    command_log.start()
    command_log.record(argv, "token: geheim")
    command_log.stop()
    logged = log_file.read_text()
    assert "geheim" not in logged
    assert (argv if isinstance(argv, str) else argv[0]).split()[0] in logged


def test_it_is_shown_live(log_file: Path) -> None:
    live = io.StringIO()
    command_log.start()
    command_log.show(live)
    command_log.record(["printf", "\x1b[2J"], "exit 0", 0.25)
    assert live.getvalue() == "vizdash: 0.250 s exit 0: printf '?[2J'\n"
    command_log.stop()
    command_log.record(["true"], "exit 0")
    assert "true" not in live.getvalue() + log_file.read_text()


def test_a_fork_writes_too(log_file: Path) -> None:
    """The process that keeps tunnels in the background is one."""
    command_log.start()
    command_log.record(["parent"], "exit 0")
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        command_log.record(["child"], "exit 0")
        command_log.stop()
        os.write(writing, b"x")
        os._exit(0)
    assert os.read(reading, 1) == b"x"
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    command_log.stop()
    assert {line.split()[-1] for line in log_file.read_text().splitlines()} == {"parent", "child"}


def test_a_home_that_cannot_be_written_blocks_nothing(log_file: Path, tmp_path: Path) -> None:
    (tmp_path / "vizdash").write_text("a file where the folder should be")
    command_log.start()
    command_log.record(["true"], "exit 0")
    command_log.stop()
    assert not log_file.exists()
