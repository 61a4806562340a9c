"""The pictures of README and docs, from a real cluster: ``python -m tests.lab.pictures FOLDER``."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from textual.color import Color

from tests.lab import Lab, probe
from tests.lab.root import say
from tests.lab.terminal import TmuxPane, terminal
from tests.lab.verbs import run_vizdash, start_session, wait_for_state
from vizdash.ui.theme import THEMES

#: The desktop that the pictures show has a file manager and a terminal open.
_SITE = """\
clusters:
  viz: {partition: viz}
apps:
  desktop:
    command: >-
      xsetroot -solid '#31516f'; openbox & sleep 2; pcmanfm /usr/share & sleep 4;
      exec xterm -bg '#10202c' -fg '#e8c46a' -geometry 90x20+480+330 -e
      "df -h /tmp; head -n 12 /proc/meminfo; exec bash"
  solver:
    title: Solver with a licence
    image: /opt/apptainers/apps/desktop/desktop.sif
    command: "echo no licence server >&2; exit 3"
    resources: {cores: 2, memory: 2G, time: 1h}
"""
#: Words of the row of the session that the pictures show.
_ROW = ("▌", "ready", "desktop", "you")
#: A part of a preview, drawn with half blocks.
_PREVIEW = "▀▀▀▀▀▀▀▀"
#: Seconds for answers that come later, and for the preview's details.
_SETTLE_S = 6


def _prepare(lab: Lab) -> None:
    """Sessions of two users: ready, pending and failed ones; and a drained node."""
    config = lab.login.root / "etc/vizdash/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(_SITE)
    failed = run_vizdash(lab, "start", "solver").stdout.strip()
    wait_for_state(lab, failed, "ended")
    start_session(lab, "gedit", "--node", "viz-node002", "--time", "4h", "--cpus", "2")
    start_session(lab, "desktop", "--node", "viz-node001", "--time", "2h", user="bob")
    run_vizdash(lab, "drain", "viz-node003", "--reason", "fan 2 failed", user="root")
    run_vizdash(lab, "start", "desktop", "--node", "viz-node003", "--time", "1h")
    start_session(lab, "desktop", "--node", "viz-node002", "--time", "8h", "--memory", "4G")


def _go_to_ready(screen: TmuxPane) -> None:
    """Put the cursor on the session of _ROW, in whichever row it is."""
    screen.keys("2")
    for attempt in range(60):
        screen.keys("Home", *["Down"] * (attempt % 6))
        time.sleep(1)
        if any(all(word in line for word in _ROW) for line in screen.text().splitlines()):
            return
    raise AssertionError(f"no ready session; seen:\n{screen.text()}")


def _dashboard(screen: TmuxPane) -> None:
    _go_to_ready(screen)
    screen.wait(_PREVIEW)


def _nodes(screen: TmuxPane) -> None:
    screen.keys("1")


def _start(screen: TmuxPane) -> None:
    screen.keys("n")


def _details(screen: TmuxPane) -> None:
    _go_to_ready(screen)
    screen.keys("v")
    screen.wait(_PREVIEW)


def _log(screen: TmuxPane) -> None:
    _go_to_ready(screen)
    screen.keys("l")


def _address(screen: TmuxPane) -> None:
    _go_to_ready(screen)
    screen.keys("o")
    screen.wait("ssh -N")


def _open_image_matrix(screen: TmuxPane) -> None:
    screen.keys("M")


#: Name, size of the terminal, and what leads to the screen.
PICTURES: tuple[tuple[str, tuple[int, int], Callable[[TmuxPane], None]], ...] = (
    ("dashboard", (160, 34), _dashboard),
    ("nodes", (140, 28), _nodes),
    ("start", (110, 32), _start),
    ("session", (110, 32), _details),
    ("log", (110, 32), _log),
    ("handoff", (110, 32), _address),
    ("images", (140, 18), _open_image_matrix),
)


def svg(screen: TmuxPane, size: tuple[int, int]) -> str:
    """What the terminal shows, as SVG, on the dark theme's background."""
    console = Console(
        width=size[0],
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    ansi = screen.tmux("capture-pane", "-p", "-e", "-N").rstrip("\n")
    for line in AnsiDecoder().decode(ansi):  # colours hold until the next change, over lines too
        console.print(line, no_wrap=True, overflow="crop", crop=True)
    black, white = (0, 0, 0), (255, 255, 255)
    background = Color.parse(THEMES["dark"].background or "black").rgb
    theme = TerminalTheme(background, white, [black, *[white] * 7])
    return console.export_svg(title="vizdash", theme=theme)


def main(folder: Path, names: list[str]) -> int:
    """Take them all, or those that are named."""
    if problems := probe():
        say("; ".join(problems))
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with Lab.start() as lab:
        _prepare(lab)
        for name, size, go in PICTURES:
            if names and name not in names:
                continue
            env = {"COLORTERM": "truecolor"}
            with terminal(lab.login, ["vizdash"], size=size, env=env) as screen:
                screen.wait("gedit")
                time.sleep(_SETTLE_S)  # the first rows may be an earlier dashboard's
                go(screen)
                time.sleep(_SETTLE_S)
                (folder / f"{name}.svg").write_text(svg(screen, size), encoding="utf-8")
                say(f"{folder}/{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
