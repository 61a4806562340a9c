"""Finds what vizdash ships: job scripts, scripts for nodes and definition files.

In a wheel they lie in the package (``vizdash/assets``), in a checkout beside it (``assets``).
"""

from __future__ import annotations

import os
from pathlib import Path

from vizdash.errors import NotFound

_PACKAGE = Path(__file__).resolve().parent


def assets() -> Path:
    """The folder of shipped assets. Raises NotFound on a broken installation."""
    for folder in (_PACKAGE / "assets", _PACKAGE.parent / "assets"):
        if (folder / "jobs").is_dir():
            return folder
    raise NotFound("vizdash's own files", f"no assets beside {_PACKAGE}", "install vizdash again")


def node_script(name: str) -> Path:
    """A script that is run on nodes over SSH."""
    return assets() / "nodes" / name


def job_script(name: str, site_folder: str = "") -> Path:
    """The job script ``name``: the site's when it has one of that name, else the shipped one.

    Raises NotFound, naming both places, when neither has it.
    """
    if "/" in name or name.startswith("."):
        raise NotFound(f"job script {name!r}", "a plain file name is expected")
    # os.path leaves the ~name of nobody as it stands, where Path raises.
    places = [Path(os.path.expanduser(site_folder))] if site_folder else []  # noqa: PTH111
    places.append(assets() / "jobs")
    for place in places:
        if (place / name).is_file():
            return place / name
    looked = ", ".join(str(place) for place in places)
    raise NotFound(f"job script {name!r}", f"not in {looked}", "see job_scripts in the config")


def example_config() -> Path:
    """The example configuration, which documents every key. Raises NotFound as ``assets`` does."""
    for folder in (_PACKAGE, _PACKAGE.parent):
        if (path := folder / "config.example.yaml").is_file():
            return path
    raise NotFound("vizdash's own files", f"no config.example.yaml beside {_PACKAGE}", "install it")
