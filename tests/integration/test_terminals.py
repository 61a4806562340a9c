"""The dashboard in tmux(1): resized, detached and attached, of every kind, and not read."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal

_WAIT_S = 180


def _dashboard(home: Path, term: str = "") -> list[str]:
    """The dashboard of this machine, with an empty home."""
    (home / ".config/vizdash").mkdir(parents=True, exist_ok=True)
    config = home / ".config/vizdash/config.yaml"
    config.write_text("clusters: {here: {engine: local}}\n")
    names = [f"HOME={home}", *([f"TERM={term}"] if term else [])]
    unset = [f"-u{name}" for name in os.environ if name.startswith("XDG_")]
    return ["env", *unset, *names, sys.executable, "-c", "from vizdash.cli import main; main()"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(_dashboard(tmp_path), 80, 23) as terminal:
        terminal.wait("○ idle|● allocated|◑ mixed", _WAIT_S)
        yield terminal


def _quit(terminal: Terminal) -> None:
    terminal.press("q")
    assert terminal.wait_end(_WAIT_S) == 0


def _wait_size(terminal: Terminal, width: int, height: int) -> None:
    """Until the dashboard fills a screen of this size: its keys are in the last row."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        rows = terminal.screen().splitlines()
        if len(rows) == height and "Quit" in rows[-1] and max(map(len, rows)) <= width:
            return
        assert time.monotonic() < deadline, terminal.screen()
        time.sleep(0.2)


def test_a_storm_of_resizes(terminal: Terminal) -> None:
    """Smaller than it can be, and larger than any screen, with a dialog open."""
    sizes = itertools.product((10, 59, 60, 80, 160, 300), (3, 15, 16, 23, 100))
    terminal.press("n")
    terminal.wait("enter starts", _WAIT_S)
    for width, height in sizes:
        terminal.resize(width, height)
    terminal.resize(160, 48)
    terminal.wait("enter starts", _WAIT_S)
    terminal.press("Escape")
    terminal.wait_gone("enter starts", _WAIT_S)
    terminal.resize(60, 16)
    screen = terminal.wait(r"Sessions 0", _WAIT_S)
    assert max(map(len, screen.splitlines())) <= 60
    terminal.resize(20, 5)
    terminal.wait("vizdash needs", _WAIT_S)
    terminal.resize(80, 23)
    terminal.wait("Sessions 0", _WAIT_S)
    _quit(terminal)


def test_it_is_detached_and_attached(terminal: Terminal) -> None:
    """A client of another size comes and goes, as after a lost connection."""
    for width, height in ((100, 30), (70, 20)):
        with terminal.attach(width, height) as client:
            _wait_size(terminal, width, height)
            terminal.press("?")
            terminal.wait("esc closes", _WAIT_S)
            assert client.poll() is None
        terminal.press("Escape")
        terminal.wait_gone("esc closes", _WAIT_S)
    _quit(terminal)


@pytest.mark.parametrize("term", ["screen", "screen-256color", "tmux", "tmux-256color", "linux"])
def test_kinds_of_terminals(tmp_path: Path, term: str) -> None:
    with Terminal(_dashboard(tmp_path, term), 80, 23) as terminal:
        terminal.wait("○ idle|● allocated|◑ mixed", _WAIT_S)
        terminal.press("h")
        terminal.wait("Load history", _WAIT_S)
        terminal.press("Escape")
        terminal.wait("Sessions 0", _WAIT_S)
        _quit(terminal)


def test_an_exported_size_is_not_the_terminal_s(tmp_path: Path) -> None:
    """Some shells and readline(3) export COLUMNS and LINES, which then stay as they are."""
    argv = _dashboard(tmp_path)
    with Terminal(["env", "COLUMNS=70", "LINES=20", *argv], 100, 30) as terminal:
        terminal.wait("○ idle|● allocated|◑ mixed", _WAIT_S)
        _wait_size(terminal, 100, 30)
        assert max(map(len, terminal.screen().splitlines())) > 70
        terminal.resize(80, 23)
        _wait_size(terminal, 80, 23)
        _quit(terminal)


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_without_a_cursor_gets_one_line(tmp_path: Path, term: str) -> None:
    with Terminal(_dashboard(tmp_path, term), 100, 30) as terminal:
        assert terminal.wait_end(_WAIT_S) == 2
        assert f"TERM={term} cannot move its cursor" in terminal.screen()
