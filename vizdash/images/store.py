"""Where built images wait for their deploy, on the image host.

``STORE/<app>/<app>-<version>.sif`` with a record beside it (``.json``): who built it, when, from
which definition. A build works in a folder ``.build-XXXX`` of its own there, locked for as long as
it lives; nothing in such a folder is ever an image, and the next build removes those whose lock
is free.
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
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import platformdirs

from vizdash.errors import NotFound, Refused, Unknown
from vizdash.files import write_whole
from vizdash.images.sif import VERSION

_WORK = ".build-"


@dataclass(frozen=True, slots=True)
class Built:
    """An image in the store. What its record does not tell (an image put there by hand has
    none) is empty or 0. ``duration_s`` is in seconds, ``built_at`` in epoch seconds.
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
    """A folder of the user's own data (platformdirs: ~/.local/share/vizdash/images)."""
    return Path(platformdirs.user_data_dir("vizdash")) / "images"


class Store:
    """The store at ``root``; it is made when something is built."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image(self, app: str, version: str) -> Path:
        """Where that version is, or would be. Raises Refused for what can't be a version."""
        if not VERSION.fullmatch(version):
            raise Refused(f"version {version!r}", "letters, digits and . _ + - make a version")
        return self.root / app / f"{app}-{version}.sif"

    def versions(self, app: str) -> tuple[Built, ...]:
        """What there is of an app, the newest last."""
        found = []
        for path in (self.root / app).glob(f"{app}-*.sif"):
            version = path.stem.removeprefix(f"{app}-")
            try:
                about = path.stat()
            except OSError:
                continue
            if VERSION.fullmatch(version):
                built = _record(path) or Built(app, version, built_at=int(about.st_mtime))
                found.append((about.st_mtime, built))
        return tuple(built for _, built in sorted(found, key=lambda pair: pair[0]))

    def newest(self, app: str, version: str = "") -> Built:
        """The newest, or that version. Raises Unknown naming what there is, NotFound for none."""
        there = self.versions(app)
        for built in reversed(there):
            if version in {"", built.version}:
                return built
        what = f"{app} {version}".strip()
        has = ", ".join(b.version for b in there)
        why = f"the store {self.root} has {has}" if has else f"not in the store {self.root}"
        raise (Unknown if there else NotFound)(what, why, f"vizdash build {app}")

    @contextmanager
    def work(self, app: str) -> Iterator[Path]:
        """A locked work folder, removed at the end. Raises Refused when it can't be made."""
        folder = self.root / app
        try:
            folder.mkdir(parents=True, exist_ok=True)
            place = folder / f"{_WORK}{secrets.token_hex(4)}"
            place.mkdir(mode=0o700)
            handle = os.open(place / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as e:
            mend = "see image_store in the config"
            raise Refused(f"can't build into {folder}", e.strerror or str(e), mend) from e
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            os.close(handle)

    def sweep(self, app: str) -> tuple[str, ...]:
        """Remove the work folders of builds that were killed; their names."""
        swept = []
        for place in (self.root / app).glob(f"{_WORK}*"):
            with contextlib.suppress(OSError), (place / "lock").open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place)
                swept.append(place.name)
        return tuple(swept)

    def publish(self, image: Path, built: Built, *, replace: bool = False) -> Path:
        """Give a whole image its final name, and write its record.

        A version is never overwritten unless ``replace``. Raises Refused when it is there.
        """
        final = self.image(built.app, built.version)
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
    """link(2) never overwrites; where a file system has none, a look has to do."""
    there = Refused(str(final), "that version is there already", "--version, or --replace")
    try:
        final.hardlink_to(image)
        return
    except FileExistsError:
        raise there from None
    except OSError as e:
        if e.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
            raise Refused(str(final), e.strerror or str(e)) from e
    if final.exists():
        raise there
    image.replace(final)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _record(path: Path) -> Built | None:
    """The record beside an image; None when there's none that fits it."""
    try:
        values = json.loads(path.with_suffix(".json").read_bytes())
        size = path.stat().st_size
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    kinds = {f.name: int if f.type == "int" else str for f in fields(Built)}
    known = {key: value for key, value in values.items() if key in kinds}
    if any(type(value) is not kinds[key] for key, value in known.items()):
        return None
    stem = f"{known.get('app')}-{known.get('version')}"
    if stem != path.stem or known.get("size_bytes") != size:
        return None
    return Built(**{**known, "path": str(path)})
