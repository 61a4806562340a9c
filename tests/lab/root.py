"""Builds the root file system that every host of the lab lies over."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.lab import recipe

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(argv: Sequence[str], log: Path, **options: object) -> None:
    """Run a step of a build; its words go to ``log``, whose end is shown when it fails."""
    with log.open("ab") as file:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            check=False,
            **options,  # type: ignore[call-overload]
        )
    if done.returncode != 0:
        tail = log.read_text(errors="replace")[-1200:]
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}; end of {log}:\n{tail}")


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path | None]:
    """A temporary place to build ``target`` in, renamed when done; None when it's there.

    One builder at a time: a second lab waits for the first one's work.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        place = target.parent / f".{target.name}.new"
        shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True) if place.is_file() else None
        yield place
        os.sync()
        place.rename(target)


def mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(COMPONENT)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in said.splitlines():
        site, _, rest = line.partition(" ")
        if rest.startswith("Debian ") and "security" not in site:
            return site
    raise RuntimeError("apt names no Debian mirror: is /etc/apt set up?")


def debootstrap(
    place: Path, packages: Sequence[str], log: Path, *, suite: str = recipe.SUITE
) -> None:
    """A minimal system of a suite, the lab's own unless another is given."""
    run(
        [
            "debootstrap",
            "--variant=minbase",
            f"--keyring={KEYRING}",
            f"--include={','.join(packages)}",
            suite,
            str(place),
            mirror(),
        ],
        log,
    )


def chroot(place: Path, argv: Sequence[str], log: Path) -> None:
    """Run a command inside, with /proc and without starting services."""
    policy = place / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    shutil.copy("/etc/resolv.conf", place / "etc/resolv.conf")
    script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    environment |= {"LC_ALL": "C.UTF-8", "HOME": "/root"}
    run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, str(place), *argv], log,
        env=environment)  # fmt: skip
    policy.unlink()


def build_root() -> Path:
    """The cached root file system, built when its recipe has changed (about two minutes)."""
    target = recipe.CACHE / f"root-{recipe.root_key()}"
    with building(target) as place:
        if place is not None:
            began = time.monotonic()
            log = recipe.CACHE / "root.log"
            log.unlink(missing_ok=True)
            say(f"building the root file system (log: {log})")
            _fill(place, log)
            say(f"root file system built in {time.monotonic() - began:.0f} s")
    return target


def _fill(place: Path, log: Path) -> None:
    debootstrap(place, recipe.ROOT_PACKAGES, log)
    say("adding Apptainer and the desktop's programs")
    sources = place / "etc/apt/sources.list.d/extra.list"
    # A mirror may keep an old copy of this suite: its signature counts, not its age.
    sources.write_text(
        f"deb [signed-by={KEYRING} check-valid-until=no] {mirror()} {recipe.EXTRA_SUITE} main\n"
    )
    pin = "Package: *\nPin: release n={}\nPin-Priority: 100\n"
    (place / "etc/apt/preferences.d/extra").write_text(pin.format(recipe.EXTRA_SUITE))
    install = ["apt-get", "install", "-qy", "--no-install-recommends"]
    chroot(place, ["apt-get", "update", "-q"], log)
    chroot(place, [*install, *recipe.DESKTOP_PACKAGES, *recipe.EXTRA_PACKAGES], log)
    chroot(place, ["apt-get", "clean"], log)
    _configure(place, log)
    _install_python(place, log)


def _configure(place: Path, log: Path) -> None:
    shutil.copy(recipe.FILES / "configure-root.sh", place / "root/configure")
    chroot(place, ["bash", "/root/configure"], log)
    (place / "home").rename(place / "home.template")
    (place / "home").mkdir()


def _install_python(place: Path, log: Path) -> None:
    """vizdash's run-time packages, as an offline wheelhouse made with this machine's own pip."""
    house = place / "var/wheelhouse"
    version = next((place / "usr/bin").glob("python3.[0-9]*")).name.removeprefix("python")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--dest", str(house)]
    run([*pip, "--only-binary=:all:", "--python-version", version, *recipe.dependencies()], log)
    chroot(place, ["python3", "-m", "venv", "/opt/vizdash"], log)
    wheels = ["--no-index", "--find-links", "/var/wheelhouse"]
    chroot(place, ["/opt/vizdash/bin/pip", "install", "-q", *wheels, *recipe.dependencies()], log)


def sweep_cache(pattern: str, keep: Path) -> None:
    """Remove what older recipes left in the cache, once no lab has used it for two days."""
    os.utime(keep)
    for old in recipe.CACHE.glob(pattern):
        if time.time() - old.stat().st_mtime > 2 * 86400:
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()


Builder = Callable[[], Path]
