"""Finds the files shipped with vizdash: job scripts, scripts for nodes, definition files.

In a wheel they are in the package (``vizdash/assets``), in a checkout beside it (``assets``).
"""

from __future__ import annotations

import os
from pathlib import Path

from vizdash.errors import NotFound

#: Shell code that becomes the node's own Python, isolated from the user's software, with all
#: arguments, or returns where there is none. The user's comes last: it may be meant for another
#: machine. EL8's own is not on PATH.
EXEC_PYTHON = (
    "for p in /usr/bin/python3 /usr/libexec/platform-python; do "
    '[ -x "$p" ] && unset LD_PRELOAD LD_LIBRARY_PATH && exec "$p" -I -c "$@"; done; '
    'command -v python3 >/dev/null 2>&1 && exec python3 -I -c "$@"; '
)

_PACKAGE = Path(__file__).resolve().parents[1]


def assets() -> Path:
    """The folder of shipped assets. Raises NotFound on a broken installation."""
    for folder in (_PACKAGE / "assets", _PACKAGE.parent / "assets"):
        if (folder / "jobs").is_dir():
            return folder
    raise NotFound("vizdash's own files", f"no assets beside {_PACKAGE}", "reinstall vizdash")


def node_script(name: str) -> Path:
    """The path of a script that runs on nodes over SSH."""
    return assets() / "nodes" / name


def job_script(name: str, site_folder: str = "") -> Path:
    """Find the job script ``name``: the site's if it has one, else the shipped one.

    Raises NotFound, naming both folders, if neither has it.
    """
    if "/" in name or name.startswith("."):
        raise NotFound(f"job script {name!r}", "a plain file name is expected")
    # For an unknown ~name, os.path returns it unchanged, and Path raises.
    folders = [Path(os.path.expanduser(site_folder))] if site_folder else []  # noqa: PTH111
    folders.append(assets() / "jobs")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    searched = ", ".join(map(str, folders))
    raise NotFound(f"job script {name!r}", f"not in {searched}", "see job_scripts in the config")


def example_config() -> Path:
    """The path of config.example.yaml, which documents every key. Raises NotFound."""
    for folder in (_PACKAGE, _PACKAGE.parent):
        if (path := folder / "config.example.yaml").is_file():
            return path
    raise NotFound("vizdash's own files", f"no config.example.yaml beside {_PACKAGE}", "install it")
