"""The user's browser: where it is, and opening it without the password in any argv."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import shlex
import shutil
import socket
import sys
import webbrowser
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from vizdash.util.files import private_folder, release_private_folder, remove_private_folder

#: Browsers that draw in the terminal: no desktop is seen in them.
_TEXT = {"www-browser", "links", "links2", "elinks", "lynx", "w3m", "browsh"}
_HELPER_S = 10.0


class BrowserLocation(StrEnum):
    """Where the user's browser is.

    ``here``: on this machine. ``helper``: on another computer, where an editor or a script
    ($BROWSER) opens addresses in it and forwards ports of this machine. ``none``: not reachable.
    """

    HERE = "here"
    HELPER = "helper"
    NONE = "none"


def locate_browser(environ: Mapping[str, str] = os.environ) -> BrowserLocation:
    """Where a page can be opened."""
    if editor_socket(environ):
        return BrowserLocation.HELPER
    remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    screen = _display(environ) or (sys.platform == "darwin" and not remote)
    if _chosen(environ):
        return BrowserLocation.HELPER if remote and not screen else BrowserLocation.HERE
    with contextlib.suppress(webbrowser.Error):
        if screen and webbrowser.get() is not None:
            return BrowserLocation.HERE
    return BrowserLocation.NONE


def have_browser(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a graphical browser can be started from here."""
    return locate_browser(environ) is not BrowserLocation.NONE


def _display(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def _chosen(environ: Mapping[str, str]) -> list[str]:
    """The first command of $BROWSER that exists and is not a text browser, as argv."""
    for argv in _commands(environ):
        if Path(argv[0]).name not in _TEXT and shutil.which(argv[0]):
            return argv
    return []


def _commands(environ: Mapping[str, str]) -> list[list[str]]:
    """The commands of $BROWSER, as argv, without those with an open quote."""
    commands = []
    for text in environ.get("BROWSER", "").split(os.pathsep):
        with contextlib.suppress(ValueError):
            commands.append(shlex.split(text))
    return [argv for argv in commands if argv]


def missing_browser(environ: Mapping[str, str] = os.environ) -> str:
    """The first program of $BROWSER where none of its programs exists, else an empty text."""
    names = [argv[0] for argv in _commands(environ)]
    return names[0] if names and not any(map(shutil.which, names)) else ""


def editor_socket(environ: Mapping[str, str] = os.environ) -> str:
    """The socket of the VS Code that shows this terminal, where it belongs to this user and
    answers. In the environment of tmux and long-running shells, its name remains after its end.
    """
    path = environ.get("VSCODE_IPC_HOOK_CLI", "")
    if not path:
        return ""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        if Path(path).stat().st_uid != os.getuid():
            return ""
        probe.settimeout(1)
        probe.connect(path)
        return path
    return ""


async def open_by_helper(address: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Open ``address`` in the user's browser on another computer; whether the helper accepted it.

    VS Code gets it through its socket, as from its own helper script
    (src/vs/server/node/server.cli.ts), so that the address is in no argv.
    """
    if path := editor_socket(environ):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_HELPER_S):
                return await _ask_editor(path, address)
    argv = _chosen(environ)
    if not argv:
        return False
    words = [word.replace("%s", address) for word in argv]
    words = words if words != argv else [*argv, address]
    quiet = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
        async with asyncio.timeout(_HELPER_S):
            return await process.wait() == 0
    except TimeoutError:
        return True  # it keeps running, as a browser in the foreground does
    except OSError:
        return False


async def _ask_editor(path: str, address: str) -> bool:
    body = json.dumps({"type": "openExternal", "uris": [address]}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        status = (await reader.readline()).split()
        return len(status) > 1 and status[1] == b"200"
    finally:
        writer.close()


_PAGE = """<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<title>vizdash</title><p><a id="a" href="{href}">Open the desktop</a>
<script>location.replace({script})</script>
"""


#: Seconds until the page is removed: a browser may first have to be loaded from a slow home.
PAGE_S = 60
#: Seconds after which a browser that is still being started counts as started.
_START_S = 5

# A browser may stay in the foreground until it is closed, and write to the terminal; the page has
# to outlive a vizdash that ends at once. So a process of its own starts it, and another removes the
# page's folder (if there is one), while this one reports the outcome by its exit code. argv:
# address, folder, two times.
_HELPER = """
import os, select, shutil, sys, time, webbrowser
page, folder, page_s, start_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
said, say = os.pipe()
if os.fork():
    os.close(say)
    answered = select.select([said], [], [], start_s)[0]
    os._exit(0 if not answered or os.read(said, 1) == b"1" else 1)
os.setsid()
if folder and not os.fork():
    os.close(say)
    time.sleep(page_s)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
os.write(say, b"1" if webbrowser.open(page) else b"0")
"""


def redirect_page(url: str) -> str:
    """An HTML page that redirects the browser to ``url``."""
    script = json.dumps(url).replace("<", "\\u003c")
    return _PAGE.format(href=html.escape(url, quote=True), script=script)


class RedirectFile:
    """A file (0600) with a page that redirects the browser, so that its argv has no password.

    Raises Refused where no file can be written.
    """

    def __init__(self, url: str) -> None:
        self._folder = private_folder()
        self.path = self._folder / "open.html"
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(redirect_page(url))

    @property
    def folder(self) -> str:
        """The page's own folder."""
        return str(self._folder)

    def remove(self) -> None:
        """Remove the page now."""
        remove_private_folder(self._folder)

    async def start_browser(self) -> bool:
        """Start the user's browser on the page, which is removed PAGE_S seconds later; False, and
        the page is removed at once, where none starts.
        """
        started = await start_browser(self.path.as_uri(), self.folder)
        if started:
            release_private_folder(self._folder)
        else:
            self.remove()
        return started


async def start_browser(address: str, folder: str = "") -> bool:
    """Start the user's browser on ``address``, which other users may see in its argv; False where
    none starts. ``folder`` is removed PAGE_S seconds later.
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
