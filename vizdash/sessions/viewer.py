"""Where a person's browser is, and asking a helper that opens addresses in it from afar."""

from __future__ import annotations

import asyncio
import contextlib
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

#: Browsers that draw in the terminal: no desktop is seen in them.
_TEXT = {"www-browser", "links", "links2", "elinks", "lynx", "w3m", "browsh"}
_HELPER_S = 10.0


class Viewer(StrEnum):
    """Where the person's browser is.

    ``here``: on this machine. ``helper``: elsewhere, but an editor or a script of theirs
    ($BROWSER) opens addresses in it, and leads ports of this machine to it. ``none``: out of
    reach.
    """

    HERE = "here"
    HELPER = "helper"
    NONE = "none"


def viewer(environ: Mapping[str, str] = os.environ) -> Viewer:
    """Where to open a page."""
    if editor_socket(environ):
        return Viewer.HELPER
    remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    screen = _display(environ) or (sys.platform == "darwin" and not remote)
    if _chosen(environ):
        return Viewer.HELPER if remote and not screen else Viewer.HERE
    with contextlib.suppress(webbrowser.Error):
        if screen and webbrowser.get() is not None:
            return Viewer.HERE
    return Viewer.NONE


def have_browser(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a graphical browser of the user's could be started from here."""
    return viewer(environ) is not Viewer.NONE


def _display(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def _chosen(environ: Mapping[str, str]) -> list[str]:
    """$BROWSER's first command that is there and is no text browser, as argv."""
    for command in environ.get("BROWSER", "").split(os.pathsep):
        argv = shlex.split(command)
        if argv and Path(argv[0]).name not in _TEXT and shutil.which(argv[0]):
            return argv
    return []


def editor_socket(environ: Mapping[str, str] = os.environ) -> str:
    """The socket of a VS Code that shows this terminal, if it is one of ours and answers; its
    name outlives it in the environment of tmux and of long-running shells.
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


async def ask_helper(address: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Have ``address`` opened in the person's browser, wherever that is; whether it was taken.

    VS Code is asked at its socket, as its own helper script does
    (src/vs/server/node/server.cli.ts there), so that the address is in no argv.
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
        return True  # it goes on, as a browser in the foreground does
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
