"""The log of unexpected errors, with traceback, for bug reports."""

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
from vizdash.util.files import make_private

#: Bytes at which the log is rotated to errors.log.1.
_MOST = 256 * 1024
_SECRET = re.compile(r"(?i)(password|passwd|token|secret)(['\"]?\s*[=:]\s*)\S+")
#: An option that is followed by a secret, and sbatch's one for variables of the environment.
_OPTION = re.compile(r"(?i)(--?[\w-]*(?:password|passwd|token|secret)[\w-]*\s+)(?!-)\S+")
_EXPORT = re.compile(r"(--export[= ]['\"]?[^\s=]+=)\S+")

#: The user information of an address: https://NAME:PASSWORD@HOST.
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")


def log_file() -> Path:
    """The path: errors.log in platformdirs' log folder."""
    return Path(platformdirs.user_log_dir("vizdash")) / "errors.log"


def report(error: BaseException, doing: str, *, soon: bool = True) -> str:
    """Return one line on an error while ``doing``. Any error but a VizdashError is logged with its
    traceback; with ``soon``, in a thread, since the home directory may hang.
    """
    if isinstance(error, VizdashError):
        return error.line
    entry = _entry(error, doing)
    if soon:
        write_soon(entry)
    else:
        write(entry)
    message = redact(" ".join(str(error).split()))
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{doing}: {where}{error.strerror} (logged in {log_file()})"
    return f"{doing}: internal error: {type(error).__name__}: {message} (logged in {log_file()})"


def write_soon(entry: str) -> None:
    """Append an entry in a thread, since the home directory may hang."""
    threading.Thread(target=write, args=(entry,), name="errorlog", daemon=True).start()


def write(entry: str) -> None:
    """Append an entry to the log of errors."""
    append(log_file(), entry, _MOST)


def append(path: Path, entry: str, most: int) -> None:
    """Append an entry to a log with mode 0600. A log of ``most`` bytes is rotated to a file with
    ``.1`` at its end. A log that cannot be written is ignored.
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
    return f"{at} pid {os.getpid()} {doing}\n{redact(whole)[-_MOST // 4 :]}\n"


def redact(text: str) -> str:
    """Replace what may be a secret."""
    text = _EXPORT.sub(r"\1…", _OPTION.sub(r"\1…", _SECRET.sub(r"\1\2…", text)))
    return _USERINFO.sub("…@", text)
