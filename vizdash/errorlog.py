"""The log of unexpected errors: what a person reports when vizdash itself went wrong."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import traceback
from pathlib import Path

import platformdirs

from vizdash.errors import VizdashError
from vizdash.files import make_private

#: Bytes from which on the log is begun again; the one before is kept as errors.log.1.
_MOST = 256 * 1024
_SECRET = re.compile(r"(?i)(password|passwd|token|secret)(['\"]?\s*[=:]\s*)\S+")

#: The user's part of an address: https://NAME:PASSWORD@HOST.
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")


def log_file() -> Path:
    """Where unexpected errors are logged: errors.log in platformdirs' log folder."""
    return Path(platformdirs.user_log_dir("vizdash")) / "errors.log"


def report(error: BaseException, doing: str, *, soon: bool = True) -> str:
    """One line for the person about what went wrong while ``doing``. All but what vizdash itself
    reports (VizdashError) is logged with its traceback; ``soon``, from a thread of its own: the
    home may hang.
    """
    if isinstance(error, VizdashError):
        return error.line
    entry = _entry(error, doing)
    if soon:
        write_soon(entry)
    else:
        write(entry)
    words = safe(" ".join(str(error).split()))
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{doing}: {where}{error.strerror} (logged in {log_file()})"
    return f"{doing}: internal error: {type(error).__name__}: {words} (logged in {log_file()})"


def write_soon(entry: str) -> None:
    """Append one entry, from a thread of its own: nobody waits for a home that hangs."""
    threading.Thread(target=write, args=(entry,), name="errorlog", daemon=True).start()


def write(entry: str) -> None:
    """Append one entry to the log of errors."""
    append(log_file(), entry, _MOST)


def append(path: Path, entry: str, most: int) -> None:
    """Append one entry to a log. It is 0600 and never larger than ``most`` bytes: then it is begun
    again, and the one before is kept with ``.1`` at its end. One that can't be written is not.
    """
    with contextlib.suppress(OSError):
        make_private(path.parent)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size + len(entry) > most:
                os.replace(path, path.with_name(f"{path.name}.1"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(entry.encode(errors="backslashreplace"))


def _entry(error: BaseException, doing: str) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    whole = "".join(traceback.format_exception(error))
    return f"{at} pid {os.getpid()} {doing}\n{safe(whole)[-_MOST // 4 :]}\n"


def safe(text: str) -> str:
    """``text`` without what may be a secret."""
    return _USERINFO.sub("…@", _SECRET.sub(r"\1\2…", text))
