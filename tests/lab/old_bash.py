"""An older bash than the lab's own: Debian 11's, the nearest to EL8's 4.4 that can be had."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.lab import recipe
from tests.lab.host import Host
from tests.lab.root import KEYRING, building, mirror, run

SUITE = "bullseye"
VERSION = "5.1"


def old_bash() -> Path:
    """The program, from the lab's cache; downloaded the first time, its signature checked."""
    target = recipe.CACHE / f"bash-{recipe.key(SUITE, Path(__file__).read_text())}"
    with building(target) as place:
        if place is not None:
            _download(place)
    return target / "bin/bash"


def _download(place: Path) -> None:
    apt = place / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    # An old suite's Release file is past its date: its signature counts, not its age.
    options = f"signed-by={KEYRING} check-valid-until=no arch=amd64"
    (apt / "sources").write_text(f"deb [{options}] {mirror()} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": apt / "sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": apt / "status",
        "Dir::Cache::Archives": apt / "archives",
        "Dir::Cache::PkgCache": "",
        "Dir::Cache::SrcPkgCache": "",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }
    words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    log = recipe.CACHE / "bash.log"
    run(["apt-get", *words, "update"], log)
    run(["apt-get", *words, "download", "bash"], log, cwd=apt)
    (package,) = apt.glob("bash_*.deb")
    run(["dpkg-deb", "-x", str(package), str(place)], log)
    shutil.rmtree(apt)


@contextlib.contextmanager
def with_old_bash(host: Host) -> Iterator[None]:
    """A host whose /bin/bash is that one; its own comes back afterwards."""
    path = "/usr/bin/bash"
    shutil.copy(old_bash(), host.root / "usr/bin/.old-bash")
    host.run(["sh", "-c", f"cp -a {path} {path}.own && mv {path[:9]}.old-bash {path}"])
    try:
        output = host.run(["bash", "--version"]).stdout
        assert f"version {VERSION}" in output, output
        yield
    finally:
        host.run(["mv", f"{path}.own", path])
