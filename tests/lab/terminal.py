"""A terminal in tmux that runs a program of a lab host."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence

from tests.lab.host import Host
from tests.tmux import Tmux

#: Red, green and blue, 0 to 255.
Colour = tuple[int, int, int]
#: A colour as tmux writes one of 24 bits (ISO 8613-6, SGR 38 and 48).
_RGB = re.compile(r"[34]8;2;(\d+);(\d+);(\d+)")


class TmuxPane:
    """A tmux pane. ``keys`` are tmux's names (send-keys in tmux(1)), ``type`` is plain text."""

    def __init__(self, tmux: Tmux) -> None:
        #: Runs a command of tmux's.
        self.tmux = tmux
        # tmux forgets a program's exit code now and then.
        self._code = tmux.folder / "code"
        #: Every key so far.
        self.pressed: list[str] = []

    def start(self, command: str, size: tuple[int, int]) -> None:
        """Start a program by a shell command."""
        width, height = size
        self.tmux(
            *("set-option", "-g", "remain-on-exit", "on", ";"),
            *("set-option", "-g", "status", "off", ";"),
            *("new-session", "-d", "-x", str(width), "-y", str(height)),
            f"{command}; echo $? >{self._code}",
        )

    def keys(self, *names: str) -> None:
        """Press keys."""
        self.pressed += names
        self.tmux("send-keys", *names)

    def type(self, text: str) -> None:
        """Type a text."""
        self.tmux("send-keys", "-l", text)

    def text(self) -> str:
        """The text on the screen, and what a plain program has scrolled away."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-200")

    def wait(self, *any_of: str, seconds: float = 180, gone: bool = False) -> str:
        """Wait until one of the texts is on the screen (with ``gone``: none of them)."""
        return self.until(
            lambda seen: any(text in seen for text in any_of) != gone,
            f"{'still' if gone else 'no'} {any_of}",
            seconds,
        )

    def colours(self) -> set[Colour]:
        """The colours on the screen, of a program that uses 24-bit colours."""
        found = _RGB.findall(self.tmux("capture-pane", "-p", "-e"))
        return {(int(red), int(green), int(blue)) for red, green, blue in found}

    def wait_colour(self, colour: Colour, seconds: float = 180) -> None:
        """Wait until a colour is on the screen, or one as near as 16-bit colours are."""

        def near(seen: Colour) -> bool:
            return all(abs(a - b) <= 8 for a, b in zip(seen, colour, strict=True))

        what = f"no colour {colour}"
        self.until(lambda _: any(near(seen) for seen in self.colours()), what, seconds)

    def until(self, test: Callable[[str], bool], what: str, seconds: float = 180) -> str:
        """Wait until the screen passes ``test``; returns its text."""
        deadline = time.monotonic() + seconds
        while not test(seen := self.text()):
            assert time.monotonic() < deadline, f"{what} in {seconds:g} s; seen:\n{seen}"
            time.sleep(0.1)
        return seen

    def ended(self) -> bool:
        """Whether the program has ended; its last screen stays."""
        return self.tmux("display-message", "-p", "#{pane_dead}").strip() == "1"

    def wait_ended(self, seconds: float = 180) -> str:
        """Wait until the program has ended; returns the screen."""
        self.until(lambda _: self.ended(), "it has not ended", seconds)
        return self.text()  # until's is from before

    def code(self) -> int:
        """Its exit code once it has ended, as a shell has it: 128 and more for a signal."""
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
) -> Iterator[TmuxPane]:
    """Open a terminal that runs ``command`` on ``host`` as ``user``."""
    argv = host.argv(command, user=user, env={"TERM": "tmux-256color", **(env or {})})
    tmux = Tmux()
    try:
        screen = TmuxPane(tmux)
        screen.start(shlex.join(argv), size)
        yield screen
    finally:
        tmux.close()
