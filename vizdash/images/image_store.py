"""The store of built images on the image host, from which they are deployed.

``STORE/<app>/<app>-<version>.sif`` has a record beside it (``.json``): who built it, when, from
which definition file. A build works in a folder ``.build-XXXX`` there, locked while it runs. Files
in such a folder are never images; the next build deletes those whose lock is free.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import platformdirs

from vizdash.errors import NotFound, Refused, UnknownName
from vizdash.images.sif import VERSION
from vizdash.util import checked_json
from vizdash.util.files import write_whole

_WORK = ".build-"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image in the store.

    Fields missing from its record are empty or 0 (an image put there by hand has no record).
    ``duration_s`` is in seconds, ``built_at`` in epoch seconds.
    """

    app: str
    version: str
    path: str = ""
    digest: str = ""
    size_bytes: int = 0
    arch: str = ""
    definition: str = ""
    definition_digest: str = ""
    built_by: str = ""
    built_on: str = ""
    built_at: int = 0
    duration_s: int = 0
    log: str = ""


def default_store() -> Path:
    """Return the default store, in the user's data folder (platformdirs:
    ~/.local/share/vizdash/images).
    """
    return Path(platformdirs.user_data_dir("vizdash")) / "images"


class ImageStore:
    """The store at ``root``, which the first build creates."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image_path(self, app: str, version: str) -> Path:
        """Return the path of a version. Raises Refused for a text that cannot be a version."""
        if not VERSION.fullmatch(version):
            raise Refused(
                f"version {version!r}", "a version consists of letters, digits and . _ + -"
            )
        return self.root / app / f"{app}-{version}.sif"

    def list_images(self, app: str) -> tuple[BuiltImage, ...]:
        """List the images of an app, the newest last."""
        images = []
        for path in (self.root / app).glob(f"{app}-*.sif"):
            version = path.stem.removeprefix(f"{app}-")
            try:
                about = path.stat()
            except OSError:
                continue
            if VERSION.fullmatch(version):
                built = _record(path) or BuiltImage(app, version, built_at=int(about.st_mtime))
                images.append((about.st_mtime, built))
        return tuple(built for _, built in sorted(images, key=lambda pair: pair[0]))

    def find_image(self, app: str, version: str = "") -> BuiltImage:
        """Return the newest image of an app, or that version. Raises Unknown or NotFound."""
        images = self.list_images(app)
        for built in reversed(images):
            if version in {"", built.version}:
                return built
        what = f"{app} {version}".strip()
        has = ", ".join(b.version for b in images)
        why = f"the store {self.root} has {has}" if has else f"not in the store {self.root}"
        raise (UnknownName if images else NotFound)(what, why, f"vizdash build {app}")

    @contextmanager
    def work_folder(self, app: str) -> Iterator[Path]:
        """Make a locked work folder, deleted at the end. Raises Refused."""
        folder = self.root / app
        try:
            folder.mkdir(parents=True, exist_ok=True)
            work = folder / f"{_WORK}{secrets.token_hex(4)}"
            work.mkdir(mode=0o700)
            handle = os.open(work / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as e:
            fix = "see image_store in the config"
            raise Refused(f"can't build into {folder}", e.strerror or str(e), fix) from e
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            os.close(handle)

    def remove_stale_work(self, app: str) -> tuple[str, ...]:
        """Delete the work folders of builds that were killed; returns their names."""
        removed = []
        for work in (self.root / app).glob(f"{_WORK}*"):
            with contextlib.suppress(OSError), (work / "lock").open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(work)
                removed.append(work.name)
        return tuple(removed)

    def publish(self, image: Path, built: BuiltImage, *, replace: bool = False) -> Path:
        """Give a complete image its final name, and write its record.

        Raises Refused when that version exists, unless ``replace`` is given.
        """
        final = self.image_path(built.app, built.version)
        image.chmod(0o644)
        _sync(image)
        if replace:
            image.replace(final)
        else:
            _link(image, final)
        _sync(final.parent)
        values = {**asdict(built), "path": str(final)}
        write_whole(final.with_suffix(".json"), json.dumps(values, indent=1) + "\n", 0o644)
        return final


def _link(image: Path, final: Path) -> None:
    """Link an image to its final name. Without hard links, check first: link(2) never
    overwrites.
    """
    exists_error = Refused(str(final), "that version already exists", "--version, or --replace")
    try:
        final.hardlink_to(image)
        return
    except FileExistsError:
        raise exists_error from None
    except OSError as e:
        if e.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
            raise Refused(str(final), e.strerror or str(e)) from e
    if final.exists():
        raise exists_error
    image.replace(final)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _record(path: Path) -> BuiltImage | None:
    """Read the record beside an image; None if there is none that matches it."""
    try:
        record, size = path.with_suffix(".json").read_bytes(), path.stat().st_size
    except OSError:
        return None
    built = checked_json.parse(record, BuiltImage, extra_keys=True)
    if built is None or f"{built.app}-{built.version}" != path.stem or built.size_bytes != size:
        return None
    return replace(built, path=str(path))
