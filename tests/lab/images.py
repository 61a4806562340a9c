"""Builds the lab's images with Apptainer, as an ordinary user on a host of the lab."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import recipe
from tests.lab.host import Host
from tests.lab.root import building, chroot, debootstrap, say, sweep_cache
from tests.lab.root import run as run_step

_BUILDER = "alice"


def build_images(root: Path) -> Path:
    """A file system layer with every image as a node has it, built once for each recipe."""
    apps = (*recipe.APPS, "legacy-gedit")
    target = recipe.CACHE / f"images-{recipe.key(*(recipe.image_key(app) for app in apps))}"
    with building(target) as place:
        if place is not None:
            began = time.monotonic()
            place.mkdir(parents=True)
            base = _base(root)
            for app in apps:
                sif = _image(root, app, base)
                _publish(place / "opt/apptainers/apps" / app, app, sif)
            say(f"images ready in {time.monotonic() - began:.0f} s")
    return target


def build_image(root: Path, app: str) -> Path:
    """The image of an app that is on no node of the lab, from its definition, or from the cache."""
    target = _image(root, app, _base(root))
    sweep_cache(f"{app}-*.sif", target)
    return target


def build_service_images(root: Path) -> None:
    """The images of services, which take longer than a test may take (some minutes, once)."""
    build_from_wheels(root, "jupyter", "jupyterlab")
    build_image(root, "pvserver")


def build_with_packages(root: Path, app: str, packages: str) -> Path:
    """The image of ``app`` with more Debian packages, by its definition's build argument.

    It comes from the cache if it is there.
    """
    target = recipe.CACHE / f"{app}-{recipe.key(recipe.image_key(app), packages)}.sif"
    with building(target) as place:
        if place is not None:
            say(f"building {app}.sif with {packages}")
            plain = _image(root, app, _base(root))
            _define(root, app, place, base=plain, packages=packages)
    return target


def build_from_wheels(root: Path, app: str, *requirements: str) -> Path:
    """The image of ``app``, whose definition takes these packages of PyPI from a folder, as at a
    site without a network (``pip_options``).

    They are downloaded with this machine's own pip. It comes from the cache if it is there.
    """
    target = recipe.CACHE / f"{app}-{recipe.key(recipe.image_key(app), requirements)}.sif"
    with building(target) as place:
        if place is not None:
            say(f"building {app}.sif with {', '.join(requirements)}")
            wheels = recipe.CACHE / ".wheels"
            shutil.rmtree(wheels, ignore_errors=True)
            version = next((root / "usr/bin").glob("python3.[0-9]*")).name.removeprefix("python")
            pip = [sys.executable, "-m", "pip", "download", "-q", "--dest", str(wheels)]
            argv = [*pip, "--only-binary=:all:", "--python-version", version, *requirements]
            run_step(argv, recipe.CACHE / "wheels.log")
            options = "--no-index --find-links /mnt"
            _define(root, app, place, base=_base(root), mounted=wheels, pip_options=options)
            shutil.rmtree(wheels)
    return target


def _publish(folder: Path, app: str, sif: Path) -> None:
    folder.mkdir(parents=True)
    name = f"{app}-{recipe.VERSION}.sif"
    shutil.copy(sif, folder / name)
    (folder / name).chmod(0o644)
    (folder / f"{app}.sif").symlink_to(name)


def _base(root: Path) -> Path:
    """Build base.sif from a debootstrapped system."""
    target = recipe.CACHE / f"base-{recipe.base_key()}.sif"
    with building(target) as place:
        if place is not None:
            say("building base.sif")
            log = recipe.CACHE / "base.log"
            log.unlink(missing_ok=True)
            tree = recipe.CACHE / ".base-tree"
            shutil.rmtree(tree, ignore_errors=True)
            debootstrap(tree, ("ca-certificates",), log)
            install = ["apt-get", "install", "-qy", "--no-install-recommends"]
            chroot(tree, ["apt-get", "update", "-q"], log)
            chroot(tree, [*install, *recipe.BASE_PACKAGES], log)
            chroot(tree, ["apt-get", "clean"], log)
            # The user who builds must be able to read it all (there's no secret in it), and can
            # make no device nodes.
            subprocess.run(["chmod", "-R", "a+rX", str(tree)], check=True)
            subprocess.run(["find", str(tree / "dev"), "-mindepth", "1", "-delete"], check=True)
            _apptainer(root, ["/mnt/run/out.sif", "/mnt/run/tree"], place, tree=tree)
            shutil.rmtree(tree)
    return target


def _image(root: Path, app: str, base: Path) -> Path:
    target = recipe.CACHE / f"{app}-{recipe.image_key(app)}.sif"
    with building(target) as place:
        if place is not None:
            say(f"building {app}.sif from {recipe.definition(app).name}")
            _define(root, app, place, base=base)
    return target


def _define(
    root: Path,
    app: str,
    place: Path,
    *,
    base: Path,
    mounted: Path | None = None,
    **arguments: str,
) -> None:
    """Build an app's image from its definition, with folder ``mounted`` on /mnt meanwhile."""
    values = {"bootstrap": "localimage", "base": "/mnt/run/base.sif", "version": recipe.VERSION}
    words = [w for k, v in (values | arguments).items() for w in ("--build-arg", f"{k}={v}")]
    _apptainer(
        root,
        [*words, "/mnt/run/out.sif", "/mnt/run/app.def"],
        place,
        base=base,
        definition=recipe.definition(app),
        mounted=mounted,
    )


def _apptainer(
    root: Path,
    arguments: list[str],
    out: Path,
    *,
    tree: Path | None = None,
    base: Path | None = None,
    definition: Path | None = None,
    mounted: Path | None = None,
) -> None:
    """``apptainer build`` on a host with the machine's network, as an ordinary user: one at a time,
    since builds share a folder.
    """
    with (recipe.CACHE / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _apptainer_alone(root, arguments, out, tree=tree, base=base, definition=definition,
                         mounted=mounted)  # fmt: skip


def _apptainer_alone(
    root: Path,
    arguments: list[str],
    out: Path,
    *,
    tree: Path | None,
    base: Path | None,
    definition: Path | None,
    mounted: Path | None,
) -> None:
    run = recipe.CACHE / ".build"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    shutil.copytree(root / "home.template", run / "home", symlinks=True)
    for user in recipe.USERS:
        subprocess.run(["chown", "-R", "--reference", str(root / "home.template" / user),
                        str(run / "home" / user)], check=True)  # fmt: skip
    if tree is not None:
        tree.rename(run / "tree")
    if base is not None:
        (run / "base.sif").hardlink_to(base)
    if definition is not None:
        shutil.copy(definition, run / "app.def")
    if mounted is not None:
        shutil.copytree(mounted, run / "mounted")
        arguments = ["--bind", "/mnt/run/mounted:/mnt", *arguments]
    run.chmod(0o777)
    host = Host("builder", run, str(root), "bare")
    try:
        host.wait_up()
        shutil.copy("/etc/resolv.conf", host.root / "etc/resolv.conf")
        command = ["apptainer", "build", "--force", "--mksquashfs-args", recipe.SQUASHFS]
        env = {"APPTAINER_TMPDIR": "/mnt/run/tmp", "APPTAINER_CACHEDIR": "/mnt/run/cache"}
        host.run(["mkdir", "-p", *env.values()], user=_BUILDER)
        done = host.run([*command, *arguments], user=_BUILDER, env=env, timeout=1500, check=False)
        (recipe.CACHE / "apptainer.log").write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            raise RuntimeError(f"apptainer build failed:\n{(done.stdout + done.stderr)[-3000:]}")
        shutil.copy(run / "out.sif", out)
    finally:
        host.power_off()
        if tree is not None:
            (run / "tree").rename(tree)
        shutil.rmtree(run, ignore_errors=True)
