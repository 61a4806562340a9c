"""TigerVNC's viewer on the login host, and a screen there on which it shows its window."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import Host
from tests.lab.packages import unpacked
from tests.waiting import wait_until

#: What the lab's root file system lacks. The viewer of the lab's own suite needs the libraries of
#: ffmpeg, and they a hundred others; this older one does not.
SUITE = "bookworm"
PACKAGES = ["tigervnc-viewer", "libfltk1.3", "libfltk-images1.3"]
DISPLAY = ":71"
_PLACE = "opt/native-viewer"
#: Colours of the screen as counts by ``#rrggbb``, read from its own VNC server.
_SEE = """
import asyncio, collections, json, os
from vizdash.sessions.rfb import RfbClient
async def main():
    client = await RfbClient.connect(lambda: asyncio.open_unix_connection("screen/rfb"), "screen12")
    await client.ask(whole=True)
    await client.update()
    pixels = memoryview(client.screen.pixels).cast("H")
    print(json.dumps(collections.Counter(pixels).most_common(4)))
    await client.close()
asyncio.run(main())
"""


def install(host: Host) -> None:
    """Put the viewer on the host, as ``vncviewer``."""
    tree = unpacked("native-viewer", SUITE, PACKAGES)
    place = host.root / _PLACE
    shutil.copytree(tree, place, symlinks=True, dirs_exist_ok=True)
    (library,) = (p.parent for p in place.glob("usr/lib/*/libfltk.so.1.3"))
    inside = "/" + str(library.relative_to(host.root))
    program = host.root / "usr/local/bin/vncviewer"
    program.write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH={inside} exec /{_PLACE}/usr/bin/xtigervncviewer "$@"\n'
    )
    program.chmod(0o755)


def uninstall(host: Host) -> None:
    """Remove it."""
    (host.root / "usr/local/bin/vncviewer").unlink(missing_ok=True)
    shutil.rmtree(host.root / _PLACE, ignore_errors=True)


class Screen:
    """An X server of alice's on the host, whose picture can be read."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def colours(self) -> list[tuple[int, int]]:
        """The most frequent colours (RGB565), each with its number of pixels."""
        script = ["/opt/vizdash/bin/python3", "-c", _SEE]
        done = self._host.run(script, user="alice")
        return [(colour, count) for colour, count in json.loads(done.stdout)]

    def wait_colour(self, rgb: tuple[int, int, int], pixels: int, seconds: float = 120) -> None:
        """Wait until so many pixels have this colour."""
        red, green, blue = rgb
        wanted = red >> 3 << 11 | green >> 2 << 5 | blue >> 3
        seen: list[tuple[int, int]] = []

        def shown() -> bool:
            seen[:] = self.colours()
            return any(colour == wanted and count >= pixels for colour, count in seen)

        wait_until(shown, f"{pixels} pixels of {rgb}", seconds, lambda: f"{wanted}: {seen}")


@contextmanager
def screen(host: Host) -> Iterator[Screen]:
    """Run an X server for alice's windows."""
    host.run("mkdir -p screen && echo screen12 | vncpasswd -f >screen/passwd", user="alice")
    process = host.popen(
        f"exec Xvnc {DISPLAY} -geometry 1280x900 -depth 24 -rfbport -1 -rfbunixpath screen/rfb "
        "-PasswordFile screen/passwd -UseBlacklist=0 -nolisten tcp >screen/log 2>&1",
        user="alice",
    )
    try:
        wait_until((host.root / "home/alice/screen/rfb").exists, "the screen", 180)
        yield Screen(host)
    finally:
        process.terminate()
        process.communicate(timeout=180)
        host.run("rm -rf screen /tmp/.X71-lock /tmp/.X11-unix/X71", user="alice")


def argv_of_all(host: Host) -> str:
    """The command lines of all processes on the host."""
    done: subprocess.CompletedProcess[str] = host.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    return done.stdout
