"""The user's native VNC viewer: finding one, and starting it without a password in its argv."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path

from vizdash.errors import Refused
from vizdash.sessions.rfb import encrypt_des
from vizdash.util.files import private_folder, remove_private_folder

#: What to install where none is found.
INSTALL = "install TigerVNC's viewer, TurboVNC or Remmina, or open it in a browser"
#: Programs by name, best first. ``vncviewer`` is TigerVNC's or TurboVNC's: its help tells.
_PROGRAMS = (
    ("xtigervncviewer", "TigerVNC"),
    ("vncviewer", ""),
    ("/opt/TurboVNC/bin/vncviewer", "TurboVNC"),
    ("remmina", "Remmina"),
)
_HELP_S = 20.0
#: The fixed key with which vncpasswd(1) obfuscates a password file.
_FILE_KEY = bytes((23, 82, 107, 6, 35, 78, 88, 7))


@dataclass(frozen=True, slots=True)
class Viewer:
    """A VNC viewer: ``kind`` is ``TigerVNC``, ``TurboVNC`` or ``Remmina``, ``program`` its path."""

    kind: str
    program: str

    @property
    def takes_socket(self) -> bool:
        """Whether it connects to a Unix socket, which other users of this machine can't use."""
        return self.kind == "TigerVNC"

    @property
    def stays(self) -> bool:
        """Whether its process lives as long as its window: Remmina passes the request on to one
        that runs already.
        """
        return self.kind != "Remmina"


def has_screen(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a window can be shown from here."""
    remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    shown = bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    return shown or (sys.platform == "darwin" and not remote)


def find_viewer() -> Viewer:
    """The best viewer on PATH. Runs its help where the name does not tell. Raises Refused."""
    for name, kind in _PROGRAMS:
        program = shutil.which(name)
        if program is None:
            continue
        if known_kind := kind or _kind_by_help(program):
            return Viewer(known_kind, program)
    raise Refused("a native viewer", "none is on PATH", INSTALL)


def _kind_by_help(program: str) -> str:
    """``TigerVNC`` or ``TurboVNC`` where its help names it; empty for another program."""
    try:
        done = subprocess.run(
            [program, "-h"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_HELP_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    help_text = done.stdout + done.stderr
    return next((kind for kind in ("TigerVNC", "TurboVNC") if kind.encode() in help_text), "")


def obfuscate(password: str) -> bytes:
    """The content of a password file (vncpasswd(1)): eight bytes."""
    return encrypt_des(_FILE_KEY, password.encode("latin-1", errors="replace")[:8].ljust(8, b"\0"))


class RunningViewer:
    """A viewer that was started, and its file with the password (0600, in a folder of its own).

    ``asks`` is whether it asks the user for the password, because there is no file for it.
    """

    def __init__(self, viewer: Viewer, folder: Path, *, asks: bool) -> None:
        self.viewer = viewer
        self.asks = asks
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._errors = b""

    async def start(self, argv: list[str]) -> None:
        """Start its process. Raises Refused where it can't be started."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as e:
            await self.close()
            raise Refused(self.viewer.program, e.strerror or str(e)) from e

    async def wait(self) -> str:
        """Wait until it has ended. Returns its last line where it failed; never returns for one
        that passes the request on (``Viewer.stays``).
        """
        process = self._process
        assert process is not None
        _, errors = await process.communicate()
        if process.returncode == 0 and not self.viewer.stays:
            await asyncio.Event().wait()
        lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
        if process.returncode in {0, None} or process.returncode < 0:
            return ""
        return lines[-1].strip() if lines else f"it ended with code {process.returncode}"

    async def close(self) -> None:
        """End it, and remove the file."""
        try:
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await self._process.wait()
        finally:
            await asyncio.to_thread(remove_private_folder, self._folder)


async def start_viewer(
    viewer: Viewer, password: str, *, title: str, socket: str = "", port: int = 0
) -> RunningViewer:
    """Start a viewer on a Unix socket (``Viewer.takes_socket``) or a port of 127.0.0.1.

    Raises Refused where no file can be written or the viewer can't be started.
    """
    folder = await asyncio.to_thread(private_folder)
    path = folder / "viewer"
    secret = "" if viewer.stays else await asyncio.to_thread(_remmina_secret)
    running = RunningViewer(viewer, folder, asks=not viewer.stays and not secret)
    try:
        if viewer.stays:
            await asyncio.to_thread(_write, path, obfuscate(password))
        else:
            path = path.with_suffix(".remmina")
            profile = _remmina_profile(password, secret, title, port)
            await asyncio.to_thread(_write, path, profile.encode())
    except OSError as e:
        await running.close()
        raise Refused(f"can't write {path}", e.strerror or str(e)) from e
    await running.start(_argv(viewer, str(path), socket or f"127.0.0.1::{port}"))
    return running


def _argv(viewer: Viewer, path: str, address: str) -> list[str]:
    if viewer.kind == "Remmina":
        return [viewer.program, "-c", path]
    if viewer.kind == "TurboVNC":
        return [viewer.program, "-passwd", path, address]
    quiet = ["-Shared", "-AlertOnFatalError=0", "-ReconnectOnError=0"]
    return [viewer.program, f"-PasswordFile={path}", *quiet, address]


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _remmina_secret() -> str:
    """Remmina's key for passwords in profiles (``secret`` in remmina.pref); empty without one."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    parser = ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(OSError, ConfigError, UnicodeDecodeError):
        parser.read(Path(base) / "remmina" / "remmina.pref", encoding="utf-8")
        return parser.get("remmina_pref", "secret", fallback="")
    return ""


def _remmina_profile(password: str, secret: str, title: str, port: int) -> str:
    """A profile, with the password as Remmina keeps it (3DES-CBC: 24 bytes of key, 8 of IV)."""
    lines = ["[remmina]", f"name={title}", "protocol=VNC", f"server=127.0.0.1:{port}"]
    lines += ["colordepth=32", "quality=9", "viewmode=1"]
    key = b""
    with contextlib.suppress(ValueError):
        key = base64.b64decode(secret)
    if len(key) >= 32:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        data = password.encode()
        data += b"\0" * (8 - len(data) % 8)
        cipher = Cipher(TripleDES(key[:24]), modes.CBC(key[24:32])).encryptor()
        lines.append("password=" + base64.b64encode(cipher.update(data)).decode("ascii"))
    return "\n".join(lines) + "\n"
