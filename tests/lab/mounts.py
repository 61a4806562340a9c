"""Mounts over a place of some hosts, for a test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab import Host

#: In a mount namespace of its own: makes one tmpfs and attaches it to each host, so that all see
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
    """One tmpfs with mount(8) ``options`` at ``path`` of all ``hosts``."""
    pids = [str(host.pid) for host in hosts]
    argv = ["unshare", "--mount", sys.executable, "-c", _SHARE, options, path, *pids]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        for host in hosts:
            host.run(["umount", "--lazy", path])


@contextlib.contextmanager
def read_only(host: Host, path: str) -> Iterator[None]:
    """``path`` of a host can't be written."""
    host.run(["mount", "--bind", path, path])
    try:
        host.run(["mount", "-o", "remount,bind,ro", path])
        yield
    finally:
        host.run(["umount", "--lazy", path])


@contextlib.contextmanager
def replaced(hosts: Sequence[Host], path: str, text: str) -> Iterator[None]:
    """Another program in the place of the one at ``path``."""
    for host in hosts:
        own = host.root / "root" / f"instead-{Path(path).name}"
        own.write_text(text)
        own.chmod(0o755)
        host.run(["mount", "--bind", f"/root/{own.name}", path])
    try:
        yield
    finally:
        for host in hosts:
            host.run(["umount", "--lazy", path])


@contextlib.contextmanager
def hidden(hosts: Sequence[Host], path: str) -> Iterator[None]:
    """An empty folder in the place of ``path``."""
    for host in hosts:
        host.run(["mount", "-t", "tmpfs", "-o", "mode=755", "nothing", path])
    try:
        yield
    finally:
        for host in hosts:
            host.run(["umount", "--lazy", path])
