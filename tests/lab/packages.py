"""Packages that single tests borrow from a Debian suite, without installing them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab import recipe
from tests.lab.root import KEYRING, building, mirror, run


def unpacked(name: str, suite: str, packages: Sequence[str]) -> Path:
    """The folder with the content of ``packages`` (without what they depend on), from the cache if
    it is there; ``name`` is the log's.
    """
    target = recipe.CACHE / f"{name}-{recipe.key(suite, *packages)}"
    with building(target) as place:
        if place is not None:
            place.mkdir()
            with tempfile.TemporaryDirectory() as folder:
                _download(Path(folder), place, suite, packages, recipe.CACHE / f"{name}.log")
    return target


def _download(folder: Path, place: Path, suite: str, packages: Sequence[str], log: Path) -> None:
    """Download packages by this machine's apt with separate lists, and unpack them."""
    sources = folder / "sources.list"
    signed = f"signed-by={KEYRING} check-valid-until=no"
    sources.write_text(f"deb [{signed}] {mirror()} {suite} main\n")
    options = {"Dir::State::lists": folder / "lists", "Dir::Cache": folder / "cache"}
    options |= {"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": Path("/dev/null")}
    apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=root"]
    apt += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    run([*apt, "update"], log)
    run([*apt, "download", *packages], log, cwd=folder)
    for package in folder.glob("*.deb"):
        run(["dpkg-deb", "-x", str(package), str(place)], log)
