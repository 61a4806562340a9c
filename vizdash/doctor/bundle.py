"""A report for a support ticket: what doctor found, versions, the configuration and the latest log.

Names of people and hosts are in it; secrets are not, as far as they can be known (errorlog.safe).
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vizdash import __version__, commandlog, errorlog
from vizdash.config import Explained
from vizdash.doctor.check import Finding
from vizdash.errorlog import safe
from vizdash.errors import VizdashError

#: Bytes of each log's end.
_LOG = 256 * 1024
_LIBRARIES = ("asyncssh", "click", "ClusterShell", "platformdirs", "pyyaml", "textual")
#: Keys of the configuration whose values are nobody else's business.
_SECRET_KEY = re.compile(r"(?i)password|passwd|token|secret|\.(environment|arguments)\b")


def write(path: Path, findings: Sequence[Finding], values: Sequence[Explained]) -> None:
    """Write the report, a .tar.gz, whole and 0600. Raises VizdashError."""
    commandlog.flush()
    files = {
        "findings.json": json.dumps([asdict(f) for f in findings], indent=1, default=str),
        "versions.json": json.dumps(_versions(), indent=1),
        "config.json": json.dumps([_shown(value) for value in values], indent=1, default=str),
    }
    for log in (commandlog.log_file(), errorlog.log_file()):
        files[log.name] = _end(log)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            content = safe(text).encode(errors="backslashreplace")
            info = tarfile.TarInfo(f"vizdash-report/{name}")
            info.size, info.mtime, info.mode = len(content), int(time.time()), 0o600
            archive.addfile(info, io.BytesIO(content))
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            file.write(data.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as e:
        new.unlink(missing_ok=True)
        raise VizdashError(f"report {path}", e.strerror or str(e), "name another file") from e


def _versions() -> dict[str, str]:
    found = {"vizdash": __version__, "python": sys.version.split()[0]}
    found["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _shown(value: Explained) -> dict[str, object]:
    row = asdict(value)
    if _SECRET_KEY.search(value.key):
        row["value"] = "(removed)"
    return row


def _end(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
