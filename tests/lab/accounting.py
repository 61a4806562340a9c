"""Accounting for the lab: slurmdbd on MariaDB, with accounts, QOS limits and an operator."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.lab import recipe
from tests.lab.root import KEYRING, building, mirror, run

#: slurmdbd reads no column with libmariadb 3.4.9 ("maximum allowed number of columns (=0)"),
#: which the lab's suite carries: it borrows this older suite's.
LIBRARY_SUITE = "bookworm"
LIBRARY = "libmariadb3"
_FILES = ("accounting.sh", "accounts", "slurmdbd.conf")


def client_library() -> Path:
    """The folder with the library that slurmdbd borrows, from the cache if it is there."""
    target = recipe.CACHE / f"{LIBRARY}-{recipe.key(LIBRARY_SUITE, LIBRARY)}"
    with building(target) as place:
        if place is not None:
            place.mkdir()
            with tempfile.TemporaryDirectory() as folder:
                _download(Path(folder), place)
    return target


def _download(folder: Path, place: Path) -> None:
    """Download the package by this machine's apt with separate lists."""
    log = recipe.CACHE / "accounting.log"
    sources = folder / "sources.list"
    signed = f"signed-by={KEYRING} check-valid-until=no"
    sources.write_text(f"deb [{signed}] {mirror()} {LIBRARY_SUITE} main\n")
    options = {"Dir::State::lists": folder / "lists", "Dir::Cache": folder / "cache"}
    options |= {"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": Path("/dev/null")}
    apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=root"]
    apt += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    for name in ("lists/partial", "cache/archives/partial", "whole"):
        (folder / name).mkdir(parents=True)
    run([*apt, "update"], log)
    run([*apt, "download", LIBRARY], log, cwd=folder)
    (package,) = folder.glob("*.deb")
    run(["dpkg-deb", "-x", str(package), str(folder / "whole")], log)
    (library,) = folder.glob("whole/usr/lib/*/libmariadb.so.3")
    shutil.copy(library, place / "libmariadb.so.3")


def lay_files(upper: Path, *, login: bool) -> None:
    """Lay the files for accounting over a host's other files."""
    slurm = upper / "etc/slurm"
    with (slurm / "slurm.conf").open("a") as conf:
        conf.write((recipe.FILES / "accounting.conf").read_text())
    if not login:
        return
    for name in _FILES:
        shutil.copy(recipe.FILES / name, slurm / name)
    (slurm / "slurmdbd.conf").chmod(0o600)
    shutil.copytree(client_library(), upper / "opt/mariadb-client")
