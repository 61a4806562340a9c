"""Reads files with checks, writes them whole, and runs calls that may hang on a file system."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import fcntl
import glob
import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from vizdash.errors import Refused, TimedOut

#: Most bytes of a file of vizdash.
_LIMIT = 1 << 20
#: Most bytes of a temporary folder's path, so that the path of a Unix socket fits into sun_path
#: (unix(7): 107 bytes; 103 on macOS).
_SHORT = 80
#: Bytes that must be free for a folder's files: a page, a socket, a cookie.
_NEEDED_BYTES = 16 * 1024
#: Errors of flock(2) on a file system without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def read_own(path: Path, limit: int = _LIMIT) -> str | None:
    """Read the text of a regular file of this user; None for anything else.

    A link, another user's file or one that is too large counts as missing, since anyone could have
    put it there. So does one that cannot be read, such as a file that another host is replacing
    (ESTALE on NFS).
    """
    try:
        return read_strictly(path, limit).decode("utf-8", errors="replace")
    except OSError:
        return None


#: Errors of ``read_strictly`` for a file that counts as missing.
_MISSING = {errno.ENOENT, errno.EPERM, errno.EFBIG}


def read_if_there(path: Path) -> str | None:
    """Read as ``read_own`` does, but raise OSError where the file, or whether it exists, can't be
    read. One that another host has replaced meanwhile (ESTALE on NFS) is read again.
    """
    for last in (False, True):
        try:
            return read_strictly(path).decode("utf-8", errors="replace")
        except OSError as e:
            if e.errno in _MISSING:
                return None
            if e.errno != errno.ESTALE or last:
                raise
    return None


def read_strictly(path: Path, limit: int = _LIMIT) -> bytes:
    """Read as ``read_own`` does, but raise OSError: FileNotFoundError for a missing file, others
    for one that cannot be read or is not this user's.
    """
    strange = OSError(errno.EPERM, "it is not a regular file of yours", str(path))
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
    """Write a file so that readers see the old text or the new one, never a part.

    It writes a temporary file beside it, syncs and renames it. Raises OSError, and leaves nothing
    behind.
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
    _remove_parts(path)


#: Seconds after which a temporary file has no writer any more.
_PART_S = 3600.0


def _remove_parts(path: Path) -> None:
    """Remove temporary files of writers of ``path`` that were killed."""
    with contextlib.suppress(OSError):
        for part in path.parent.glob(f".{glob.escape(path.name)}.????????"):
            if time.time() - part.lstat().st_mtime > _PART_S:
                part.unlink(missing_ok=True)


def make_private(path: Path) -> None:
    """Make a folder and its missing parents, each with mode 0700 whatever the umask. Existing ones
    stay unchanged. Raises OSError.
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
    """Raise OSError unless ``path`` is a folder of this user and no link: in a world-writable
    folder, anyone could have made it.
    """
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it is a link, or not yours", str(path))


#: The most links that are followed to a folder of a user's.
_LINKS = 10


def check_private_below(places: Iterable[Path]) -> None:
    """Raise OSError unless each of ``places`` that exists, each of them in the one before, is as
    ``check_private`` wants it. The first ones may also be root's, where only root can write:
    folders, or links that root has made to such a folder or to one of this user.
    """
    mine = False
    for place in filter(os.path.lexists, places):
        if mine:
            check_private(place)
        else:
            mine = _is_own(place)


def _is_own(place: Path) -> bool:
    """Whether a folder is this user's (else root has made it). Raises OSError for others."""
    at = place
    for _ in range(_LINKS):
        about = at.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
            return True
        if about.st_uid != 0 or not _only_root_writes(at.parent):
            check_private(place)
        if not stat.S_ISLNK(about.st_mode):
            if not _only_root_writes(at):
                check_private(place)
            return False
        at = at.parent / at.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(place))


def _only_root_writes(folder: Path) -> bool:
    about = folder.stat()
    is_root = about.st_uid == 0 and stat.S_ISDIR(about.st_mode)
    return is_root and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def account_name(uid: int | None = None) -> str:
    """The name of an account, or its number if it has none. Without ``uid``, the effective user's;
    LOGNAME and USER are only variables.
    """
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextlib.contextmanager
def locked(path: Path, *, needed: bool = True) -> Iterator[None]:
    """Hold the lock file ``path``, which is made if missing; waits for it.

    Raises OSError; on a file system without locks only if a lock is ``needed``.
    """
    make_private(path.parent)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        with contextlib.suppress(PermissionError):  # another user's file keeps its mode
            os.fchmod(file.fileno(), 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as e:
            if needed or e.errno not in _NO_LOCKS:
                raise
        yield


def private_folder(longest: int = _SHORT) -> Path:
    """Make a folder with mode 0700, with a path short enough for Unix sockets: its parent's path
    has at most ``longest`` bytes.

    It is removed when this process ends, at the latest. It is in TMPDIR or, if that is full,
    read-only, missing, too long, or a place where others could exchange it, in another folder for
    temporary files. Raises Refused with the first cause if none can be used.
    """
    first: OSError | None = None
    for place in _temporary_folders():
        try:
            real = os.path.realpath(place)  # a link could be turned elsewhere later
            _check_place(real)
            _sweep(real)
            return _make_folder(real, longest)
        except OSError as e:
            first = first or e
    why = f"{first.filename}: {first.strerror}" if first else "no folder is usable"
    raise Refused("no temporary folder can be made", why, "free space in /tmp, or set TMPDIR")


def _temporary_folders() -> list[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    fixed = ("/tmp", runtime, "/dev/shm", "/var/tmp")  # noqa: S108 (mkdtemp makes a folder there)
    places = dict.fromkeys((os.environ.get("TMPDIR", ""), *fixed))
    return [place for place in places if Path(place).is_absolute()]


def _check_place(place: str) -> None:
    """Raise OSError if another user could rename a folder that is made in ``place``, and put
    another one at its path: where one of the folders above it is theirs, or is writable for others
    without the sticky bit (inode(7)). ``place`` has no links.
    """
    trusted = {0, os.geteuid()}
    with contextlib.suppress(OSError):  # root, as it is shown in a container without root
        trusted.add(os.stat("/proc/sys/kernel").st_uid)
    for folder in (Path(place), *Path(place).parents):
        about = folder.stat()
        if about.st_uid not in trusted:
            why = f"{account_name(about.st_uid)} could exchange what is in it"
            raise OSError(errno.EPERM, why, str(folder))
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not about.st_mode & stat.S_ISVTX:
            why = "others could exchange what is in it, without the sticky bit"
            raise OSError(errno.EPERM, why, str(folder))


def _make_folder(place: str, longest: int) -> Path:
    if len(os.fsencode(place)) > longest:
        raise OSError(errno.ENAMETOOLONG, "its path is too long for a Unix socket", place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    _locks[folder] = _lock_folder(folder)
    try:
        # A full file system still makes folders, but no files with content.
        (folder / "probe").write_bytes(bytes(_NEEDED_BYTES))
        (folder / "probe").unlink()
    except OSError as e:
        remove_private_folder(folder)
        raise OSError(e.errno, e.strerror, place) from e
    return folder


#: How the names of private folders begin. Those of jobs begin otherwise.
_PREFIX = "vizdash-run_"
#: Seconds for which an unlocked folder is kept: it is new, or left to a browser that reads it.
_NEW_S = 120.0
#: The locks of this process's folders, as descriptors (None: no locks there). A process that was
#: killed loses them; a forked one keeps them.
_locks: dict[Path, int | None] = {}
_swept: set[str] = set()


def remove_private_folder(folder: Path) -> None:
    """Remove a folder that ``private_folder`` made, with what it contains."""
    shutil.rmtree(folder, ignore_errors=True)
    release_private_folder(folder)


def release_private_folder(folder: Path) -> None:
    """Leave a private folder to another program, which removes it soon."""
    lock = _locks.pop(folder, None)
    if lock is not None:
        os.close(lock)


@atexit.register
def _remove_held() -> None:
    """Remove what is left where a signal has interrupted what closes and removes."""
    for folder in list(_locks):
        remove_private_folder(folder)


def _lock_folder(folder: Path) -> int | None:
    """Lock a folder of this user's until the descriptor is closed; None if another process has
    locked it, or it cannot be locked.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(folder, flags)
    except OSError:
        return None
    try:
        if os.fstat(handle).st_uid == os.geteuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _sweep(place: str) -> None:
    """Remove the private folders of processes that were killed, once for each process."""
    if place in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError):
        for folder in Path(place).glob(f"{_PREFIX}*"):
            if time.time() - folder.lstat().st_mtime < _NEW_S:
                continue
            lock = _lock_folder(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Seconds after which a file system counts as hung.
HUNG_AFTER_S = 20.0
#: Seconds for a write when vizdash ends.
_LAST_S = 3.0


class FileAccess:
    """Runs file system calls in threads, with a time limit. A call that hangs keeps its thread; the
    next call waits for it in the event loop and starts no other thread.
    """

    def __init__(self, what: str, timeout_s: float = HUNG_AFTER_S) -> None:
        """``what`` names the files in the error, e.g. "your home"."""
        self._what = what
        self._timeout_s = timeout_s
        self._call: asyncio.Future[Any] | None = None

    async def run(self, call: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        """Return the result of ``call``; raise what it raises, and TimedOut when it, or the
        previous call, does not return. If the caller is cancelled, the call keeps running.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        while self._call is not None and not self._call.done():
            await self._wait(self._call, deadline)
        mine = loop.run_in_executor(None, partial(call, *args, **named))
        self._call = mine
        await self._wait(mine, deadline)
        return mine.result()

    async def _wait(self, call: asyncio.Future[_T], deadline: float) -> None:
        left = deadline - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait({call}, timeout=max(0.0, left))
        if not done:
            call.add_done_callback(_forget)
            why = f"no answer in {self._timeout_s:g} s"
            raise TimedOut(self._what, why, "check its file server, e.g. with ls")


async def run_briefly(call: Callable[[], object], seconds: float = _LAST_S) -> None:
    """Run ``call`` in a thread, and wait for at most ``seconds``, so that vizdash ends even if the
    home directory hangs. An OSError is ignored.
    """
    running = asyncio.get_running_loop().run_in_executor(None, call)
    running.add_done_callback(_forget)
    done, _ = await asyncio.wait({running}, timeout=seconds)
    if done:
        with contextlib.suppress(OSError):
            running.result()


def _forget(call: asyncio.Future[_T]) -> None:
    """Drop the exception of an abandoned call, so that it is not logged."""
    if not call.cancelled():
        call.exception()
