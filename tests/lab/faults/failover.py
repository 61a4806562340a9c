"""A cluster with a backup controller: a second slurmctld that shares the first one's state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.lab import Host, Lab, recipe
from tests.lab.conftest import site_files

BACKUP = "backup"
_ADDRESS = "10.77.0.30"
#: On the shared file system: see StateSaveLocation in slurm.conf(5).
_STATE = "home/.slurmctld"


def _lay(run: Path, host: str, upper: Path) -> None:
    """Name both controllers on a host."""
    conf = upper / "etc/slurm/slurm.conf"
    text = conf.read_text()
    for before, after in (
        ("SlurmctldHost=login\n", f"SlurmctldHost=login\nSlurmctldHost={BACKUP}\n"),
        ("StateSaveLocation=/var/spool/slurmctld\n", f"StateSaveLocation=/{_STATE}\n"),
        ("SlurmctldTimeout=30\n", "SlurmctldTimeout=10\n"),
    ):
        assert before in text
        text = text.replace(before, after)
    conf.write_text(text)
    with (upper / "etc/hosts").open("a") as hosts:
        hosts.write(f"{_ADDRESS}\t{BACKUP}\n")
    (run / _STATE).mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def lab_with_backup() -> Iterator[tuple[Lab, Host]]:
    """The lab and its backup controller, which is on standby."""
    with Lab.start(lay=_lay) as lab, site_files(lab):
        files = {
            name: (lab.login.root / name.lstrip("/")).read_text()
            for name in ("/etc/slurm/slurm.conf", "/etc/hosts")
        }
        backup = lab.add_host(BACKUP, "submit", files)
        lab.plug(backup, recipe.INSIDE, "eth0", _ADDRESS)
        backup.wait_up()
        backup.run(["slurmctld"])
        yield lab, backup
