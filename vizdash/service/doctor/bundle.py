"""The report for a support ticket: findings, versions, configuration and the ends of the logs.

It contains names of users and hosts. Known secrets are removed (error_log.redact).
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

from vizdash import __version__
from vizdash.config import Explained
from vizdash.errors import VizdashError
from vizdash.service.doctor.checks import Finding
from vizdash.util import command_log, error_log
from vizdash.util.error_log import redact

#: Bytes from the end of each log.
_LOG = 256 * 1024
_LIBRARIES = ("asyncssh", "click", "ClusterShell", "platformdirs", "pyyaml", "textual")
#: Configuration keys whose values are private.
_SECRET_KEY = re.compile(r"(?i)password|passwd|token|secret|\.(environment|arguments)\b")


def write(path: Path, findings: Sequence[Finding], values: Sequence[Explained]) -> None:
    """Write the report, a .tar.gz with mode 0600, atomically. Raises VizdashError."""
    command_log.flush()
    files = {
        "findings.json": json.dumps([asdict(f) for f in findings], indent=1, default=str),
        "versions.json": json.dumps(_versions(), indent=1),
        "config.json": json.dumps(
            [_without_secret(value) for value in values], indent=1, default=str
        ),
    }
    for log in (command_log.log_file(), error_log.log_file()):
        files[log.name] = _read_end(log)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            content = redact(text).encode(errors="backslashreplace")
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
        raise VizdashError(f"report {path}", e.strerror or str(e), "choose another file") from e


def _versions() -> dict[str, str]:
    versions = {"vizdash": __version__, "python": sys.version.split()[0]}
    versions["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _without_secret(value: Explained) -> dict[str, object]:
    row = asdict(value)
    if _SECRET_KEY.search(value.key):
        row["value"] = "(removed)"
    return row


def _read_end(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
