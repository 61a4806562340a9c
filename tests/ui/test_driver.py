"""A terminal that stands still, and one that goes away: the real program in a real pty(7)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vizdash.ui.driver import ROOM, Output

_DEADLINE_S = 60.0


class Pty:
    """A dashboard of this machine alone; ``end`` is the terminal's side."""

    def __init__(
        self, home: Path, rows: int = 24, columns: int = 80, term: str = "xterm-256color"
    ) -> None:
        (home / ".config/vizdash").mkdir(parents=True)
        config = home / ".config/vizdash/config.yaml"
        config.write_text("clusters: {here: {engine: local}}\n")
        self.end, inner = pty.openpty()
        self.size(rows, columns)
        env = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": term}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from vizdash.cli import main; main()"],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inner)

    def size(self, rows: int, columns: int) -> None:
        """Another size of the window: all is painted anew."""
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, words: bytes) -> bytes:
        """Take what is written until it holds these words."""
        seen, until = b"", time.monotonic() + _DEADLINE_S
        while words not in seen:
            assert time.monotonic() < until, seen[-2000:]
            seen += os.read(self.end, 65536)
        return seen

    def fill(self) -> None:
        """Read nothing, and have so much painted that nothing more goes into the terminal."""
        until, held, same = time.monotonic() + _DEADLINE_S, -1, 0
        while same < 50:
            assert time.monotonic() < until
            self.size(40 + same % 2, 150)
            select.select([], [], [], 0.02)
            now = struct.unpack("i", fcntl.ioctl(self.end, termios.FIONREAD, b"\0" * 4))[0]
            same, held = (same + 1 if now == held else 0), now

    def close(self) -> None:
        """The window is closed; the kernel hangs up on all that belongs to it."""
        os.close(self.end)
        self.end = -1

    def code(self) -> int:
        """The exit code; fails when it does not end."""
        return self.process.wait(_DEADLINE_S)


@contextlib.contextmanager
def running(terminal: Pty) -> Iterator[Pty]:
    try:
        terminal.read_until(b"Sessions")
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        if terminal.end >= 0:
            os.close(terminal.end)


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Pty]:
    with running(Pty(tmp_path)) as terminal:
        yield terminal


def test_a_closed_terminal_ends_it(shown: Pty) -> None:
    shown.close()
    shown.code()


def test_a_terminal_that_stood_still_and_is_closed_ends_it(shown: Pty) -> None:
    shown.fill()
    shown.close()
    shown.code()


def test_a_terminal_that_stands_still_keeps_no_kill_from_ending_it(shown: Pty) -> None:
    shown.fill()
    shown.process.send_signal(signal.SIGTERM)
    shown.code()


def test_one_that_tells_no_size_is_not_painted_for_ever(tmp_path: Path) -> None:
    """Between the seconds nothing is written: only the age of what is shown changes."""
    with running(Pty(tmp_path, 0, 0)) as terminal:
        seen, still = b"", 0
        while still < 4:
            if select.select([terminal.end], [], [], 0.5)[0]:
                seen += os.read(terminal.end, 65536)
            else:
                still += 1
            assert seen.count(b"New session") < 20


def test_ctrl_z_suspends_it_and_fg_brings_it_back(shown: Pty) -> None:
    def state() -> str:
        stat = Path(f"/proc/{shown.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    os.write(shown.end, b"\x1a")
    shown.read_until(b"\x1b[?1049l")  # xterm's control sequences: the main screen
    until = time.monotonic() + _DEADLINE_S
    while state() != "T":
        assert time.monotonic() < until
        time.sleep(0.05)
    shown.process.send_signal(signal.SIGCONT)
    shown.read_until(b"\x1b[?1049h")
    shown.read_until(b"Sessions")
    os.write(shown.end, b"q")
    while shown.process.poll() is None:
        with contextlib.suppress(OSError):
            os.read(shown.end, 65536)
    assert shown.code() == 0


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_gets_one_line(tmp_path: Path, term: str) -> None:
    """At 100x30 they had it spin for ever, deaf to every signal."""
    terminal = Pty(tmp_path, 30, 100, term)
    try:
        seen = terminal.read_until(b"\n").decode().strip()
        assert terminal.code() == 2
        assert f"TERM={term} cannot move its cursor" in seen
        assert "--help" in seen
        assert "\x1b" not in seen
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.end)


@pytest.mark.parametrize("term", ["screen", "tmux", "linux", "one-that-nobody-knows", ""])
def test_it_works_with_the_usual_kinds_of_terminal(tmp_path: Path, term: str) -> None:
    with running(Pty(tmp_path, 30, 100, term)) as terminal:
        os.write(terminal.end, b"q")
        while terminal.process.poll() is None:
            with contextlib.suppress(OSError):  # EIO: it is closed at the other end
                os.read(terminal.end, 65536)
        assert terminal.code() == 0


_STUCK = """
import asyncio, time
from vizdash.cli.ending import on_signals

async def main():
    on_signals(lambda: None)
    print("stuck", flush=True)
    while True:
        time.sleep(0.05)

asyncio.run(main())
"""


def test_a_second_term_ends_it_whatever_it_does() -> None:
    """Its event loop does not run any more: one TERM alone is not worked off."""
    process = subprocess.Popen([sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGHUP)
        until = time.monotonic() + _DEADLINE_S
        while process.poll() is None and time.monotonic() < until:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert process.poll() == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_nobody_waits_for_it_and_what_is_last_is_kept(pipe: tuple[int, int]) -> None:
    """The pipe is full: writing goes on, the oldest is forgotten in whole pieces, and then the
    screen is asked for.
    """
    behind = threading.Event()
    output = Output(pipe[1], gone=lambda: None, behind=behind.set)
    pieces = [f"<{n:04}{'.' * 4000}>" for n in range(100)]
    for piece in pieces:
        output.write(piece)
    assert not behind.is_set()
    read = ""
    while not read.endswith(pieces[-1]):
        read += os.read(pipe[0], 4096).decode()
    assert behind.wait(_DEADLINE_S)
    seen = re.findall(r"<(\d{4})\.{4000}>", read)
    assert read == "".join(pieces[int(n)] for n in seen)
    assert len(seen) * 4006 < len("".join(pieces)) - ROOM
    output.write("after")
    output.drain(_DEADLINE_S)
    assert os.read(pipe[0], 4096) == b"after"


def test_whoever_ends_waits_for_the_last_words(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1], gone=lambda: None, behind=lambda: None)
    output.write("x" * 200_000)
    output.drain(0.01)
    got = b""
    while len(got) < 200_000:
        got += os.read(pipe[0], 65536)
    output.drain(_DEADLINE_S)
    assert set(got) == {ord("x")}


def test_it_tells_that_nobody_reads(pipe: tuple[int, int]) -> None:
    """As with a closed terminal, nothing is written any more."""
    gone = threading.Event()
    os.close(pipe[0])
    output = Output(pipe[1], gone=gone.set, behind=lambda: None)
    output.write("is anybody there?")
    assert gone.wait(_DEADLINE_S)
    output.write("no")
    output.drain(_DEADLINE_S)
