"""A terminal that a person would sit at: tmux, with a program of a lab host in it."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.lab.host import Host

#: Red, green and blue, 0 to 255.
Colour = tuple[int, int, int]
#: A colour as tmux writes one of 24 bits (ISO 8613-6, SGR 38 and 48).
_RGB = re.compile(r"[34]8;2;(\d+);(\d+);(\d+)")


class Terminal:
    """A tmux pane. ``keys`` are tmux's names (send-keys in tmux(1)), ``type`` is plain text."""

    def __init__(self, name: str, code: Path) -> None:
        self._tmux = ["tmux", "-L", name]
        self._code = code
        #: Every key so far.
        self.pressed: list[str] = []

    def tmux(self, *words: str) -> str:
        """A tmux command."""
        done = subprocess.run(
            [*self._tmux, *words], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, f"tmux {words}: {done.stderr}"
        return done.stdout

    def keys(self, *names: str) -> None:
        """Press keys."""
        self.pressed += names
        self.tmux("send-keys", *names)

    def type(self, text: str) -> None:
        """Type a text."""
        self.tmux("send-keys", "-l", text)

    def text(self) -> str:
        """What is seen now (and, of a plain program's words, what has scrolled away)."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-200")

    def wait(self, *any_of: str, seconds: float = 30, gone: bool = False) -> str:
        """Wait until one of the texts is seen (or with ``gone``, none of them is)."""
        return self.until(
            lambda seen: any(text in seen for text in any_of) != gone,
            f"{'still' if gone else 'no'} {any_of}",
            seconds,
        )

    def colours(self) -> set[Colour]:
        """The colours of what is seen now, of a program that was told of 24 bits."""
        found = _RGB.findall(self.tmux("capture-pane", "-p", "-e"))
        return {(int(red), int(green), int(blue)) for red, green, blue in found}

    def wait_colour(self, colour: Colour, seconds: float = 60) -> None:
        """Wait until a colour is seen, or one that differs by as little as 16 bits make."""

        def near(seen: Colour) -> bool:
            return all(abs(a - b) <= 8 for a, b in zip(seen, colour, strict=True))

        what = f"no colour {colour}"
        self.until(lambda _: any(near(seen) for seen in self.colours()), what, seconds)

    def until(self, test: Callable[[str], bool], what: str, seconds: float = 30) -> str:
        """Wait until what is seen passes ``test``; returns it."""
        deadline = time.monotonic() + seconds
        while not test(seen := self.text()):
            assert time.monotonic() < deadline, f"{what} in {seconds:g} s; seen:\n{seen}"
            time.sleep(0.1)
        return seen

    def ended(self) -> bool:
        """Whether the program has ended (what it left stays to be seen)."""
        return self.tmux("display-message", "-p", "#{pane_dead}").strip() == "1"

    def wait_ended(self, seconds: float = 30) -> str:
        """Wait until it has; returns what is seen."""
        return self.until(lambda _: self.ended(), "it has not ended", seconds)

    def code(self) -> int:
        """Its exit code, once it has ended; as a shell has it, 128 and more for a signal."""
        self.until(lambda _: self._code.exists() and self._code.read_text() != "", "no exit code")
        return int(self._code.read_text())


@contextlib.contextmanager
def terminal(
    host: Host,
    command: Sequence[str] | str,
    *,
    user: str = "alice",
    size: tuple[int, int] = (120, 40),
    env: dict[str, str] | None = None,
) -> Iterator[Terminal]:
    """A terminal with ``command`` in it, run on ``host`` as ``user``."""
    name = f"vizdash-lab-{secrets.token_hex(4)}"
    argv = host.argv(command, user=user, env={"TERM": "tmux-256color", **(env or {})})
    width, height = size
    options = ["-x", str(width), "-y", str(height)]
    place = tempfile.TemporaryDirectory(prefix="vizdash-lab-")
    # tmux forgets a program's exit code now and then.
    code = Path(place.name) / "code"
    start = ["new-session", "-d", *options, f"{shlex.join(argv)}; echo $? >{code}"]
    keep = ["set-option", "-g", "remain-on-exit", "on"]
    subprocess.run(
        ["tmux", "-L", name, "-f", "/dev/null", *keep, ";", "set-option", "-g", "status", "off",
         ";", *start],
        check=True,
    )  # fmt: skip
    screen = Terminal(name, code)
    try:
        yield screen
    finally:
        screen.tmux("kill-server")
        place.cleanup()
