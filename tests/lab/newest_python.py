"""The newest Python that Debian has as its own: a small system of its unstable suite."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import recipe
from tests.lab.root import building, chroot, debootstrap, run, say

SUITE = recipe.EXTRA_SUITE
PACKAGES = ["ca-certificates", "python3-venv", "procps", "openssh-client", "git"]
#: What builds vizdash from its source, and what the tests need that are run there.
TOOLS = ["hatchling", "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "pip"]


def newest_python() -> Path:
    """The cached root file system, with vizdash's dependencies as wheels in /var/wheelhouse."""
    wanted = (SUITE, PACKAGES, TOOLS, recipe.dependencies(), inspect.getsource(_fill))
    target = recipe.CACHE / f"python-{recipe.key(*wanted)}"
    with building(target) as place:
        if place is not None:
            _fill(place)
    return target


def _fill(place: Path) -> None:
    began = time.monotonic()
    log = recipe.CACHE / "python.log"
    log.unlink(missing_ok=True)
    say(f"building a system with the newest Python (log: {log})")
    debootstrap(place, PACKAGES, log, suite=SUITE)
    chroot(place, ["apt-get", "clean"], log)
    version = (place / "usr/bin/python3").resolve().name.removeprefix("python")
    house = place / "var/wheelhouse"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--dest", str(house)]
    wanted = [*recipe.dependencies(), *TOOLS]
    run([*pip, "--only-binary=:all:", "--python-version", version, *wanted], log)
    say(f"Python {version} is there after {time.monotonic() - began:.0f} s")


class Guest:
    """A throwaway system over the cached one: what is done in it is gone with ``folder``."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        for name in ("upper", "work", "on"):
            (folder / name).mkdir()

    def add(self, file: Path, name: str) -> None:
        """Copy a file or folder of this machine into the system, as ``name``."""
        target = self._folder / "upper" / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(file, target) if file.is_dir() else shutil.copy(file, target)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there, without a network; its stderr is shown when it fails."""
        layers = f"lowerdir={self._root},upperdir={self._folder}/upper,workdir={self._folder}/work"
        script = (
            f'mount -t overlay overlay -o "{layers}" "$0" && mount -t proc proc "$0/proc"'
            ' && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
        )
        place = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", script]
        done = subprocess.run(
            [*place, str(self._folder / "on"), *argv],
            env={"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": "/root", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            output = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise AssertionError(f"{argv} ended with {done.returncode}:\n{output}")
        return done
