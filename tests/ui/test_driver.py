"""A terminal that blocks or goes away: the real program in a real pty(7)."""

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

from vizdash.ui.terminal.driver import MAX_PENDING_CHARS, TerminalWriter

_DEADLINE_S = 60.0


class Pty:
    """A dashboard of this machine alone; ``end`` is the terminal's side. ``first`` is Python that
    runs before it.
    """

    def __init__(
        self,
        home: Path,
        rows: int = 24,
        columns: int = 80,
        term: str = "xterm-256color",
        first: str = "",
    ) -> None:
        (home / ".config/vizdash").mkdir(parents=True)
        config = home / ".config/vizdash/config.yaml"
        config.write_text("clusters: {here: {engine: local}}\n")
        self.end, inner = pty.openpty()
        self.size(rows, columns)
        env = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": term}
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{first}\nfrom vizdash.cli import main; main()"],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        #: What was read beyond the words that were awaited.
        self._rest = b""
        #: The program's side, by name.
        self.inner = os.ttyname(inner)
        os.close(inner)

    def size(self, rows: int, columns: int) -> None:
        """Another size of the window: everything is painted again."""
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, words: bytes) -> bytes:
        """Take what is written until it holds these words."""
        seen, until = self._rest, time.monotonic() + _DEADLINE_S
        while words not in seen:
            assert time.monotonic() < until, seen[-2000:]
            seen += os.read(self.end, 65536)
        at = seen.index(words) + len(words)
        self._rest = seen[at:]
        return seen[:at]

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


#: Without it, a test of "at once" would depend on the machine's speed.
_PATIENT = (
    "from vizdash.ui.terminal import driver\n"
    "driver.TerminalWriter.drain.__defaults__ = (1000.0,)\n"
    "driver._DISCARDED_S = 1000.0"
)


@pytest.mark.parametrize("how", ["q", "SIGTERM", "SIGHUP"])
def test_a_terminal_that_is_not_read_is_given_back_at_once(tmp_path: Path, how: str) -> None:
    """However long a slow terminal would get for the last output. The next to read this terminal
    gets the main screen with a cursor and without mouse reports.
    """
    with running(Pty(tmp_path, first=_PATIENT)) as terminal:
        inner = os.open(terminal.inner, os.O_RDWR | os.O_NOCTTY)  # keeps what is there
        terminal.fill()
        if how == "q":
            os.write(terminal.end, b"q")
        else:
            terminal.process.send_signal(signal.Signals[how])
        assert terminal.code() == 0
        seen = b""
        while select.select([terminal.end], [], [], 0.5)[0]:
            seen += os.read(terminal.end, 65536)
        os.close(inner)
        for sequence in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?1003l"):
            assert sequence in seen.rpartition(b"\x18")[2]


def test_a_terminal_that_stood_still_shows_the_present_screen(shown: Pty) -> None:
    """What was not read meanwhile is dropped, not kept."""
    shown.fill()
    before = _memory_mib(shown.process.pid)
    for n in range(300):
        shown.size(40 + n % 2, 150)
        select.select([], [], [], 0.02)
    assert _memory_mib(shown.process.pid) < before + 20
    os.write(shown.end, b"?")
    shown.read_until(b"esc closes")
    shown.size(30, 100)
    shown.read_until(b"esc closes")


def _memory_mib(pid: int) -> int:
    """The resident memory of a process (proc(5), VmRSS)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) >> 10


def test_a_terminal_without_a_size_is_not_painted_for_ever(tmp_path: Path) -> None:
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
from vizdash.cli.exit import on_signals

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


def test_nothing_waits_for_a_blocked_terminal_and_the_last_screen_is_kept(
    pipe: tuple[int, int],
) -> None:
    """The pipe is full: writing continues, whole frames are dropped until it is read again, and
    then the screen is asked for. Control sequences are kept.
    """
    behind = threading.Event()
    output = TerminalWriter(pipe[1], on_closed=lambda: None, on_overflow=behind.set)
    size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    first = "x" * (size + 1)
    output.write(first)
    until = time.monotonic() + _DEADLINE_S
    while fcntl.ioctl(pipe[0], termios.FIONREAD, b"\0" * 4) != struct.pack("i", size):
        assert time.monotonic() < until
        time.sleep(0.01)
    pieces = [f"<{n:04}{'.' * 4000}>" for n in range(100)]
    for piece in pieces:
        output.write_frame(piece)
    output.write("bell")
    assert output.is_behind
    assert not behind.is_set()
    read = ""
    while not read.endswith("bell"):
        read += os.read(pipe[0], 4096).decode()
    read = read.removesuffix("bell").removeprefix(first)
    assert behind.wait(_DEADLINE_S)
    seen = re.findall(r"<(\d{4})\.{4000}>", read)
    assert read == "".join(pieces[int(n)] for n in seen)
    assert len(seen) * 4006 < len("".join(pieces)) - MAX_PENDING_CHARS
    output.write_frame("after")
    output.drain(_DEADLINE_S)
    assert os.read(pipe[0], 4096) == b"after"


def test_whoever_ends_waits_for_the_last_output(pipe: tuple[int, int]) -> None:
    output = TerminalWriter(pipe[1], on_closed=lambda: None, on_overflow=lambda: None)
    output.write("x" * 200_000)
    output.write_frame("y" * 200_000)
    output.drop_frames()
    assert select.select([pipe[0]], [], [], _DEADLINE_S)[0]  # its thread has begun
    output.drain(0.01)
    got = b""
    while len(got) < 200_000:
        got += os.read(pipe[0], 65536)
    output.drain(_DEADLINE_S)
    assert set(got) == {ord("x")}


def test_a_terminal_that_is_not_read_is_noticed(pipe: tuple[int, int]) -> None:
    """As with a closed terminal, nothing is written any more."""
    gone = threading.Event()
    os.close(pipe[0])
    output = TerminalWriter(pipe[1], on_closed=gone.set, on_overflow=lambda: None)
    output.write("is anybody there?")
    assert gone.wait(_DEADLINE_S)
    output.write("no")
    output.drain(_DEADLINE_S)
