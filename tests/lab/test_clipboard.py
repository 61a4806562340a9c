"""Text of every script on a desktop: shown, carried by noVNC's clipboard both ways, and saved."""

from __future__ import annotations

import time
from collections.abc import Callable

from PIL import Image

from tests.lab import Lab
from tests.lab.browser import Desktop, desktop
from tests.lab.test_session import BLUE
from tests.lab.vd import opened, start, vizdash

TEXT = "한글 日本語 äß€"
#: Characters that are no box themselves (as 日 and 口 are), a line each.
SHAPES = "한글語あ가나"
#: gedit's text: where it begins, and the height of a line.
LEFT, TOP, LINE = 25, 46, 18


def _wait(true: Callable[[], bool], what: str, seen: Desktop) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, f"{what}: see {seen.save('clipboard')}"
        seen.page.wait_for_timeout(200)


def _panel(seen: Desktop) -> str:
    """What noVNC's clipboard panel holds."""
    text: str = seen.page.evaluate("document.getElementById('noVNC_clipboard_text').value")
    return text


def _copy(seen: Desktop, text: str) -> None:
    """Put it into noVNC's clipboard panel, as a person does who may not use the browser's own."""
    seen.page.evaluate(
        "text => { const area = document.getElementById('noVNC_clipboard_text');"
        " area.value = text; area.dispatchEvent(new Event('change')); }",
        text,
    )


def _ink(picture: Image.Image, line: int) -> Image.Image:
    """The smallest part that has all that is dark on a line of gedit's text; white on black."""
    top = TOP + line * LINE
    part = picture.crop((LEFT, top, LEFT + 60, top + LINE)).convert("L")
    dark = part.point(lambda value: 255 if value < 150 else 0)
    box = dark.getbbox()
    assert box is not None, f"nothing on line {line + 1}"
    return dark.crop(box)


def _is_box(ink: Image.Image) -> bool:
    """Whether it is framed on all four sides, as the sign for a character that no font has is."""
    edges = (
        (0, 0, ink.width, 1),
        (0, ink.height - 1, ink.width, ink.height),
        (0, 0, 1, ink.height),
        (ink.width - 1, 0, ink.width, ink.height),
    )
    return all(ink.crop(edge).histogram()[255] >= 0.8 * max(edge[2] - edge[0], edge[3] - edge[1])
               for edge in edges)  # fmt: skip


def test_gedit(lab: Lab) -> None:
    """Pasted, drawn, saved under a Korean name, and copied back with what was typed."""
    name = "/home/alice/보고서.txt"
    session = start(lab, "gedit")
    with opened(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share((255, 255, 255), 0.5)
        _copy(seen, "\n".join(SHAPES) + "\n")
        # The window is there before it takes keys.
        lines = (LEFT, TOP, LEFT + 60, TOP + LINE * len(SHAPES))
        with seen.changes(lines):
            seen.click(600, 500)
            seen.press("Control+v")
        picture = seen.picture()
        seen.save("every-script")
        drawn = [_ink(picture, line) for line in range(len(SHAPES))]
        assert [c for c, ink in zip(SHAPES, drawn, strict=True) if _is_box(ink)] == []
        assert len({ink.tobytes() for ink in drawn}) == len(SHAPES)
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
    vizdash(lab, "stop", session["id"])


def test_xterm(lab: Lab) -> None:
    """It pastes and gives the other of X's two selections (PRIMARY)."""
    session = start(lab, "desktop")
    pasted = lab.login.root / "home/alice/pasted"
    with opened(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share(BLUE)
        _copy(seen, TEXT)

        def done() -> bool:
            return pasted.exists() and pasted.read_text() == f"{TEXT}\n"

        for _ in range(10):  # keys that came before the window manager are lost
            seen.click(300, 200)
            seen.page.wait_for_timeout(500)
            seen.press("Control+u")
            seen.type("echo '")
            seen.press("Shift+Insert")
            seen.type("' >~/pasted\n")
            seen.page.wait_for_timeout(1500)
            if done():
                break
        _wait(done, "nothing was pasted", seen)
        seen.type("clear; cat ~/pasted\n")
        seen.page.wait_for_timeout(1000)
        # The first line, by three clicks: it is selected, and so in PRIMARY.
        seen.page.mouse.click(120, 90, click_count=3)
        _wait(lambda: _panel(seen).strip() == TEXT, "selected text did not come", seen)
    pasted.unlink()
    vizdash(lab, "stop", session["id"])
