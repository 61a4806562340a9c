"""Mounts over a path of some hosts, for the length of a test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab import Host

#: In a separate mount namespace: makes one tmpfs and attaches it to each host, so that all see
#: the same files, as on a shared file system (open_tree(2), move_mount(2), by their numbers, which
#: are those of all architectures).
_SHARE = """
import ctypes, os, subprocess, sys
options, path, *pids = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "shared", "/mnt"], check=True)
libc = ctypes.CDLL(None, use_errno=True)
call = libc.syscall
for pid in pids:
    tree = call(428, -100, b"/mnt", 1 | os.O_CLOEXEC)
    assert tree >= 0, os.strerror(ctypes.get_errno())
    child = os.fork()
    if not child:
        space = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
        assert libc.setns(space, 0) == 0, os.strerror(ctypes.get_errno())
        os.makedirs(path, exist_ok=True)
        code = call(429, tree, b"", -100, path.encode(), 4)
        if code:
            print(path, os.strerror(ctypes.get_errno()), file=sys.stderr)
        os._exit(code != 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(tree)
"""


@contextlib.contextmanager
def shared_tmpfs(hosts: Sequence[Host], path: str, options: str) -> Iterator[None]:
    """Mount one tmpfs with mount(8) ``options`` at ``path`` of all ``hosts``."""
    pids = [str(host.pid) for host in hosts]
    argv = ["unshare", "--mount", sys.executable, "-c", _SHARE, options, path, *pids]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with _unmounted_after(hosts, path):
        yield


@contextlib.contextmanager
def _unmounted_after(hosts: Sequence[Host], path: str) -> Iterator[None]:
    try:
        yield
    finally:
        for host in hosts:
            host.run(["umount", "--lazy", path])


@contextlib.contextmanager
def read_only(host: Host, path: str) -> Iterator[None]:
    """Make ``path`` of a host read-only."""
    host.run(["mount", "--bind", path, path])
    try:
        host.run(["mount", "-o", "remount,bind,ro", path])
        yield
    finally:
        host.run(["umount", "--lazy", path])


@contextlib.contextmanager
def replaced(hosts: Sequence[Host], path: str, text: str) -> Iterator[None]:
    """Replace the program at ``path`` by another."""
    for host in hosts:
        own = host.root / "root" / f"instead-{Path(path).name}"
        own.write_text(text)
        own.chmod(0o755)
        host.run(["mount", "--bind", f"/root/{own.name}", path])
    with _unmounted_after(hosts, path):
        yield


@contextlib.contextmanager
def hidden(hosts: Sequence[Host], path: str) -> Iterator[None]:
    """Hide ``path`` behind an empty folder."""
    for host in hosts:
        host.run(["mount", "-t", "tmpfs", "-o", "mode=755", "nothing", path])
    with _unmounted_after(hosts, path):
        yield


@contextlib.contextmanager
def filled(host: Host, *folders: str) -> Iterator[None]:
    """Put file systems that hold nothing more over folders of a host."""
    for folder in folders:
        host.run(["mount", "-t", "tmpfs", "-o", "mode=1777,size=64k", "tmp", folder])
        host.run(f"head -c 1M /dev/zero >{folder}/fills 2>/dev/null; true")
    try:
        yield
    finally:
        for folder in folders:
            host.run(["umount", folder])
