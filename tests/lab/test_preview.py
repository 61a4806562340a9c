"""The thumbnail of a desktop, through the same route as the desktop itself."""

from __future__ import annotations

import time

from tests.lab import Lab
from tests.lab.vd import sessions, start

#: Prints the colour in the middle of each picture, as the dashboard would get it.
_LOOK = """
import asyncio, sys
from contextlib import aclosing
from vizdash.cli.prompt import Terminal
from vizdash.config import load
from vizdash.connect import connect

async def main():
    service = await connect(load()[0], Terminal())
    try:
        session = await service.find(sys.argv[1])
        async with aclosing(service.preview(session, lambda: (60, 40))) as found:
            async for picture in found:
                x, y = picture.width // 2, 1
                print(*picture.at(x, y), picture.width, picture.height, flush=True)
    finally:
        await service.close()

asyncio.run(main())
"""


def test_the_thumbnail_shows_the_root_windows_colour(lab: Lab) -> None:
    session = start(lab, "desktop", "--memory", "1G")
    node = lab.hosts[session["node"]]
    look = lab.login.popen(["/opt/vizdash/bin/python", "-c", _LOOK, session["id"]], user="alice")
    assert look.stdout is not None
    try:
        first = look.stdout.readline()
        assert near(first, (0x31, 0x51, 0x6F)), first or look.communicate(timeout=30)
        # By the display's abstract socket, with the session's own cookie.
        folder = f"~/.local/state/vizdash/sessions/{session['id']}"
        paint = f". {folder}/connection; export DISPLAY XAUTHORITY=$RUNTIME_DIR/xauth; "
        node.run(f"{paint} xsetroot -solid '#c02040'", user="alice")
        deadline = time.monotonic() + 30
        while not near(line := look.stdout.readline(), (0xC0, 0x20, 0x40)):
            assert time.monotonic() < deadline, line
    finally:
        look.terminate()
        look.communicate(timeout=10)
    # A look is no viewer.
    assert [s["viewers"] for s in sessions(lab) if s["id"] == session["id"]] == [0]


def near(line: str, colour: tuple[int, int, int]) -> bool:
    seen = [int(word) for word in line.split()[:3]]
    return len(seen) == 3 and all(abs(a - b) <= 8 for a, b in zip(seen, colour, strict=True))
