"""Text of every script on a desktop: shown, carried by noVNC's clipboard both ways, and saved."""

from __future__ import annotations

import time
from collections.abc import Callable

from PIL import Image

from tests.lab import Lab
from tests.lab.browser import Desktop, desktop
from tests.lab.test_session import BLUE
from tests.lab.verbs import open_session, run_vizdash, start_session

TEXT = "한글 日本語 äß€"
#: Characters that are no box themselves (as 日 and 口 are), a line each.
SHAPES = "한글語あ가나"
#: gedit's text: where it begins, and about the height of a line.
LEFT, TOP, LINE = 25, 46, 18


def _wait(true: Callable[[], bool], what: str, seen: Desktop) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, f"{what}: see {seen.save('clipboard')}"
        seen.page.wait_for_timeout(200)


def _panel(seen: Desktop) -> str:
    """What noVNC's clipboard panel holds."""
    text: str = seen.page.evaluate("document.getElementById('noVNC_clipboard_text').value")
    return text


def _copy(seen: Desktop, text: str) -> None:
    """Put text into noVNC's clipboard panel, as a user without the browser's clipboard does."""
    seen.page.evaluate(
        "text => { const area = document.getElementById('noVNC_clipboard_text');"
        " area.value = text; area.dispatchEvent(new Event('change')); }",
        text,
    )


def _dark(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """A part of a picture: what is dark there is white, the rest black."""
    return picture.crop(box).convert("L").point(lambda value: 255 if value < 150 else 0)


def _lines(picture: Image.Image, count: int) -> list[Image.Image]:
    """What is dark on each line of gedit's text, between the middles of the line numbers at its
    left: how high a line is depends on the fonts."""
    numbers = _dark(picture, (8, TOP, LEFT - 3, TOP + 150)).resize((1, 150), Image.Resampling.BOX)
    rows = [y for y, value in enumerate(numbers.tobytes()) if value]
    tops = [y for y in rows if y - 1 not in rows]
    if len(tops) < 2:
        return []
    pitch = tops[1] - tops[0]
    tops = [TOP + top - pitch // 4 for top in tops[:count]]
    return [_dark(picture, (LEFT, top, LEFT + 60, top + pitch)) for top in tops]


def _boxes(dark: Image.Image) -> int:
    """How many frames it has: closed rectangles of at least 10 x 14 pixels, as the sign for a
    character that no font has is."""
    found, pixels = 0, dark.load()
    assert pixels is not None

    def row(x0: int, x1: int, y: int) -> bool:
        return all(pixels[x, y] for x in range(x0, x1))

    for y0 in range(dark.height - 13):
        for x0 in range(dark.width - 9):
            if not pixels[x0, y0] or (x0 and pixels[x0 - 1, y0]):
                continue
            x1 = x0
            while x1 < dark.width and pixels[x1, y0]:
                x1 += 1
            y1 = y0
            while y1 < dark.height and pixels[x0, y1] and pixels[x1 - 1, y1]:
                y1 += 1
            if x1 - x0 >= 10 and any(row(x0, x1, y) for y in range(y0 + 13, y1)):
                found += 1
    return found


def test_gedit(lab: Lab) -> None:
    """Pasted, drawn, saved under a Korean name, and copied back with what was typed."""
    name = "/home/alice/보고서.txt"
    session = start_session(lab, "gedit")
    with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share((255, 255, 255), 0.5)
        _copy(seen, "\n".join(SHAPES) + "\n")
        # The window exists before it takes keys.
        lines = (LEFT, TOP, LEFT + 60, TOP + LINE * len(SHAPES))
        with seen.changes(lines):
            seen.click(600, 500)
            seen.press("Control+v")

        def differ() -> bool:
            drawn = _lines(seen.picture(), len(SHAPES))
            shapes = {line.tobytes() for line in drawn if line.getbbox()}
            return len(shapes) == len(drawn) == len(SHAPES)

        _wait(differ, "not every line is there and another", seen)
        picture = seen.picture()
        seen.save("every-script")
        assert _boxes(_dark(picture, (LEFT, TOP, LEFT + 60, TOP + 150))) == 0
        _copy(seen, TEXT)
        seen.press("Control+a")
        seen.type("typed ")
        # What is pasted comes later than the key: the app asks the X server, and that one noVNC.
        with seen.changes((LEFT + 60, TOP, LEFT + 200, TOP + LINE)):
            seen.press("Control+v")
        seen.press("Control+a")
        seen.press("Control+c")
        _wait(lambda: _panel(seen) == f"typed {TEXT}", "copied text did not come", seen)
        with seen.changes((100, 200, 1100, 600)):
            seen.press("Control+s")
        _copy(seen, name)
        seen.press("Control+a")
        with seen.changes((165, 35, 400, 60)):
            seen.press("Control+v")
        seen.press("Enter")
        _wait((lab.login.root / name[1:]).exists, "nothing was saved", seen)
    try:
        assert (lab.login.root / name[1:]).read_text() == f"typed {TEXT}\n"
    finally:
        (lab.login.root / name[1:]).unlink()
    run_vizdash(lab, "stop", session["id"])


def test_xterm(lab: Lab) -> None:
    """It pastes and gives the other of X's two selections (PRIMARY)."""
    session = start_session(lab, "desktop")
    pasted = lab.login.root / "home/alice/pasted"
    with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share(BLUE)
        _copy(seen, TEXT)

        def done() -> bool:
            return pasted.exists() and pasted.read_text() == f"{TEXT}\n"

        deadline = time.monotonic() + 180
        while not done():  # keys that came before the window manager are lost
            assert time.monotonic() < deadline, "nothing was pasted"
            seen.click(300, 200)
            seen.page.wait_for_timeout(500)
            seen.press("Control+u")
            seen.type("echo '")
            seen.press("Shift+Insert")
            seen.type("' >~/pasted\n")
            seen.page.wait_for_timeout(1500)
        seen.type("clear; cat ~/pasted\n")

        def selected() -> bool:
            """The first line, by three clicks: it is selected, and so in PRIMARY. On a busy machine
            the text comes later, or the clicks are too slow to be one.
            """
            seen.page.mouse.click(120, 90, click_count=3)
            seen.page.wait_for_timeout(1500)
            return _panel(seen).strip() == TEXT

        _wait(selected, "selected text did not come", seen)
    pasted.unlink()
    run_vizdash(lab, "stop", session["id"])
