"""Files read with suspicion and written whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vizdash.errors import Refused

#: Nothing of ours is larger.
_LIMIT = 1 << 20
#: Bytes of a temporary folder's path under which a Unix socket's own path fits into sun_path
#: (unix(7): 107 bytes; 103 on macOS).
_SHORT = 80
#: Bytes that a folder must have room for: a page, a socket, a cookie.
_ROOM = 16 * 1024
#: What flock(2) says on a file system that has no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def read_own(path: Path, limit: int = _LIMIT) -> str | None:
    """The text of a regular file that belongs to us; None for anything else.

    A link, someone else's file or an over-large one is taken as not there: its text could
    have been put there by anyone. So is one that can't be read, such as a file that another
    host replaces meanwhile (ESTALE on NFS).
    """
    try:
        return read_strictly(path, limit).decode("utf-8", errors="replace")
    except OSError:
        return None


def read_strictly(path: Path, limit: int = _LIMIT) -> bytes:
    """As ``read_own``, for whom a file that can't be read is another thing than none.

    Raises OSError: FileNotFoundError where there's no file, others for one that doesn't count.
    """
    strange = OSError(errno.EPERM, "it is no regular file of yours", str(path))
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise strange if e.errno == errno.ELOOP else e from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            raise strange
        with open(handle, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(handle)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part.

    A temporary file beside it, fsync, rename. Raises OSError, leaving nothing behind.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_private(path: Path) -> None:
    """Make a folder, and those above it that are missing, each 0700 whatever the umask. Those that
    are there stay as they are. Raises OSError.
    """
    missing: list[Path] = []
    for place in (path, *path.parents):
        if place.is_dir():
            break
        missing.append(place)
    for place in reversed(missing):
        try:
            place.mkdir(0o700)
        except FileExistsError:
            if not place.is_dir():
                raise
            continue
        place.chmod(0o700)


def check_private(path: Path) -> None:
    """Raises OSError unless ``path`` is a folder of ours and no link: where everybody may write,
    anyone can have made it before.
    """
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it is a link, or not yours", str(path))


def account_name(uid: int | None = None) -> str:
    """The name of an account, the number of one that has none. Without ``uid``, that of the user
    whose rights this process has: LOGNAME and USER are what somebody has set.
    """
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextlib.contextmanager
def locked(path: Path, *, needed: bool = True) -> Iterator[None]:
    """Wait for the lock file ``path`` (made when it isn't there), and hold it.

    Raises OSError; where the file system has no locks, only when one is ``needed``.
    """
    make_private(path.parent)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        with contextlib.suppress(PermissionError):  # another's: its mode is theirs
            os.fchmod(file.fileno(), 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as e:
            if needed or e.errno not in _NO_LOCKS:
                raise
        yield


def private_folder(longest: int = _SHORT) -> Path:
    """A new folder that only we can enter (0700), with a path short enough for Unix sockets: that
    of the folder it is made in has ``longest`` bytes at most.

    In TMPDIR where that serves; where it is full, read-only, missing or its path too long, in
    another of this machine's places for temporary files. Raises Refused, naming the first cause,
    when none serves.
    """
    first: OSError | None = None
    for place in _temporary_places():
        try:
            return _folder_with_room(place, longest)
        except OSError as e:
            first = first or e
    why = f"{first.filename}: {first.strerror}" if first else "there is no place for one"
    raise Refused("no temporary folder can be made", why, "free space in /tmp, or set TMPDIR")


def _temporary_places() -> list[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    fixed = ("/tmp", runtime, "/dev/shm", "/var/tmp")  # noqa: S108 (mkdtemp makes a folder there)
    places = dict.fromkeys((os.environ.get("TMPDIR", ""), *fixed))
    return [place for place in places if Path(place).is_absolute()]


def _folder_with_room(place: str, longest: int) -> Path:
    if len(os.fsencode(place)) > longest:
        raise OSError(errno.ENAMETOOLONG, "its path is too long for a Unix socket", place)
    folder = Path(tempfile.mkdtemp(prefix="vizdash-", dir=place))
    try:
        # A full file system still makes a folder, but no file that holds anything.
        (folder / "room").write_bytes(bytes(_ROOM))
        (folder / "room").unlink()
    except OSError as e:
        shutil.rmtree(folder, ignore_errors=True)
        raise OSError(e.errno, e.strerror, place) from e
    return folder
