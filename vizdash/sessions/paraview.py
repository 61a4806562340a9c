"""ParaView on this machine, the client of sessions of kind pvserver: its version, and its files."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from vizdash.errors import Refused
from vizdash.util.files import make_private, write_whole

_VERSION = re.compile(r"\b(\d+\.\d+)(\.\d+)?\b")
_VERSION_S = 60.0
#: Seconds after which a client that has not ended counts as started.
_START_S = 3.0


@dataclass(frozen=True, slots=True)
class ParaView:
    """A client: the path of ``paraview``, and its version (empty: it does not print one)."""

    program: str
    version: str


def find_paraview() -> ParaView | None:
    """The ``paraview`` on PATH; None where there is none. Runs it for its version."""
    program = shutil.which("paraview")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, text=True,
            errors="replace", timeout=_VERSION_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ParaView(program, "")
    match = _VERSION.search(done.stdout) or _VERSION.search(done.stderr)
    return ParaView(program, match[0] if match else "")


def check_versions(session_id: str, client: ParaView, server: str) -> None:
    """Raise Refused, with both versions, unless client and server are of one release (5.13):
    others refuse each other, without saying why.
    """
    ours, theirs = _VERSION.search(client.version), _VERSION.search(server)
    if ours and theirs and ours[1] != theirs[1]:
        raise Refused(
            f"session {session_id} was not opened",
            f"{client.program} is ParaView {client.version}, the server is {server}",
            f"use ParaView {theirs[1]}",
        )


def server_file(session_id: str) -> Path:
    """The server file of a session (ParaView Guide, "Remote and parallel visualization")."""
    return Path(platformdirs.user_state_dir("vizdash")) / "pvserver" / f"{session_id}.pvsc"


def write_server_file(session_id: str, name: str, url: str) -> Path:
    """Write the server file: ParaView loads it, and connects to ``url``. Raises Refused."""
    from xml.sax.saxutils import quoteattr  # it imports an HTTP client

    path = server_file(session_id)
    server = f"<Server name={quoteattr(name)} resource={quoteattr(url)}>"
    text = f"<Servers>\n  {server}\n    <ManualStartup/>\n  </Server>\n</Servers>\n"
    try:
        make_private(path.parent)
        write_whole(path, text)
    except OSError as e:
        raise Refused(f"can't write {path}", e.strerror or str(e), "check your home") from e
    return path


async def start_paraview(client: ParaView, url: str) -> bool:
    """Start the client on ``url``, which holds no secret; False where it ends at once."""
    nothing = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *(client.program, f"--server-url={url}"),
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )
        async with asyncio.timeout(_START_S):
            return await process.wait() == 0
    except TimeoutError:
        return True
    except OSError:
        return False
