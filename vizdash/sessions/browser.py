"""Opening the user's own browser without the password in any argv."""

from __future__ import annotations

import asyncio
import html
import json
import os
import shutil
import sys

from vizdash.files import private_folder

_PAGE = """<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<title>vizdash</title><p><a id="a" href="{href}">Open the desktop</a>
<script>location.replace({script})</script>
"""


#: Seconds until the page goes: a browser may have to be loaded from a slow home first.
PAGE_S = 60
#: Seconds after which a browser that is still being started counts as started.
_START_S = 5

# A browser may stay in the foreground until it is closed, and write to the terminal; the page has
# to outlive a vizdash that ends at once. So a process of its own starts it, and another removes the
# page's folder (if there is one), while this one tells by its exit code how it went. argv: address,
# folder, two times.
_HELPER = """
import os, select, shutil, sys, time, webbrowser
page, folder, page_s, start_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
said, say = os.pipe()
if os.fork():
    os.close(say)
    told = select.select([said], [], [], start_s)[0]
    os._exit(0 if not told or os.read(said, 1) == b"1" else 1)
os.setsid()
if folder and not os.fork():
    os.close(say)
    time.sleep(page_s)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
os.write(say, b"1" if webbrowser.open(page) else b"0")
"""


def page_to(url: str) -> str:
    """A page that sends the browser on to ``url``."""
    script = json.dumps(url).replace("<", "\\u003c")
    return _PAGE.format(href=html.escape(url, quote=True), script=script)


class RedirectFile:
    """A 0600 page that sends the browser on: the browser's argv names the file alone.

    Raises Refused where no file can be written.
    """

    def __init__(self, url: str) -> None:
        self._folder = private_folder()
        self.path = self._folder / "open.html"
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page_to(url))

    @property
    def folder(self) -> str:
        """The page's own folder."""
        return str(self._folder)

    def remove(self) -> None:
        """Remove the page before its time."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def start_browser(self) -> bool:
        """Start the user's browser on the page, which goes by itself PAGE_S seconds later; False,
        and the page is gone, when none would start.
        """
        started = await start_browser(self.path.as_uri(), self.folder)
        if not started:
            self.remove()
        return started


async def start_browser(address: str, folder: str = "") -> bool:
    """Start the user's browser on ``address``, which may be seen by others; False when none would
    start. ``folder`` is removed PAGE_S seconds later.
    """
    nothing = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-c",
            _HELPER,
            *(address, folder, str(PAGE_S), str(_START_S)),
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
        )
        return await process.wait() == 0
    except OSError:
        return False
