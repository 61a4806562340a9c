"""What a definition file's ``%files`` names beside it, for builds on another machine."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from vizdash.errors import Refused, UsageError

#: Bytes that are sent to a build; larger things belong into the base image.
_MOST = 256 << 20
_FIX = "where: here, or an absolute path that is there too"


def check(sources: Iterable[str], folder: Path) -> None:
    """Raises UsageError for a file that is not there."""
    for source in sources:
        _found(source, folder)


def pack(sources: Iterable[str], folder: Path) -> str:
    """Those files as a tar archive in gzip and base64; empty where there are none.

    Links are followed, as Apptainer does. Raises UsageError and Refused.
    """
    paths = [path for source in sources for path in _found(source, folder)]
    if not paths:
        return ""
    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w:gz", dereference=True) as archive:
            for path in paths:
                name = path.relative_to(folder)
                if ".." in name.parts:
                    raise Refused(f"%files {name}", f"it is outside of {folder}", _FIX)
                archive.add(path, str(name))
                if buffer.tell() > _MOST:
                    raise Refused("%files", f"more than {_MOST >> 20} MiB", _FIX)
    except (OSError, ValueError) as e:
        raise UsageError("%files", str(e)) from e
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _found(source: str, folder: Path) -> list[Path]:
    paths = sorted(folder.glob(source)) if set(source) & set("*?[") else [folder / source]
    if not paths or not all(path.exists() for path in paths):
        raise UsageError(f"%files {source}", f"no such file in {folder}")
    return paths
