"""Nodes that are folders of this machine, reached through a program called ssh that runs what it
is given here. The script, rsync, flock and sha256sum are the real ones.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from pathlib import Path

import pytest

from vizdash.config import Deploy
from vizdash.images.deploy import Deployment, Site, Smoke
from vizdash.images.distribution import travel
from vizdash.images.matrix import look_at
from vizdash.images.progress import Progress
from vizdash.images.shell import NodeShell
from vizdash.images.travel import Cargo
from vizdash.model import Image, Place
from vizdash.transport.local import LocalRunner

ROOT = "/IMAGEROOT"
_SSH = r"""#!/bin/bash
# ssh [OPTIONS] NODE COMMAND...
while [ $# -gt 0 ]; do
  case $1 in
    -o | -l) shift 2 ;;
    -*) shift ;;
    *) break ;;
  esac
done
node=$1; shift
echo "$node: $*" >>"$NODES/ssh.log"
if [ ! -d "$NODES/$node" ]; then
  echo "ssh: connect to host $node port 22: No route to host" >&2
  exit 255
fi
if [ -n "${FROM:-}" ] && [ -e "$NODES/$FROM/alone" ]; then
  echo "$node: Permission denied (publickey)." >&2
  exit 255
fi
export FROM=$node
[ ! -e "$NODES/$node/noise" ] || { echo Welcome; printf 'no line end'; } # as of a ~/.bashrc
[ ! -e "$NODES/$node/bin" ] || PATH=$NODES/$node/bin:$PATH
# The image root is this node's, also in a command that another node passed on.
command=$(sed -E "s#$NODES/[a-z0-9]+/root#/IMAGEROOT#g" <<<"$*")
exec bash -c "${command//\/IMAGEROOT/$NODES/$node/root}"
"""

_STALL = """
import os, subprocess, sys
left = int(sys.argv[1])
rsync = subprocess.Popen(["/usr/bin/rsync", *sys.argv[2:]], stdin=subprocess.PIPE)
while left and (data := os.read(0, min(left, 65536))):
    rsync.stdin.write(data)
    rsync.stdin.flush()
    left -= len(data)
while os.read(0, 65536):
    pass
rsync.stdin.close()
sys.exit(rsync.wait())
"""


class Cluster:
    """Folders for nodes, and a store for images."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        tools = folder / "tools"
        tools.mkdir()
        (tools / "ssh").write_text(_SSH)
        (tools / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        monkeypatch.setenv("NODES", str(folder))

    def shell(self, **deploy: object) -> NodeShell:
        owner = f"{os.getuid()}:{os.getgid()}"
        return NodeShell(LocalRunner(), Deploy(owner=owner, **deploy))  # type: ignore[arg-type]

    def site(self, **deploy: object) -> Site:
        shell = self.shell(**deploy)
        return Site(shell, ROOT, travel(shell, ROOT))

    def add(self, *nodes: str) -> None:
        for node in nodes:
            (self.folder / node).mkdir()

    def root(self, node: str) -> Path:
        return self.folder / node / "root"

    def files(self, node: str, app: str = "gedit") -> set[str]:
        folder = self.root(node) / app
        return {f.name for f in folder.iterdir()} if folder.is_dir() else set()

    def stalls(self, node: str, after: int = 2_000_000) -> None:
        """Its rsync gets so many bytes and then waits for the connection's end."""
        self.tool(node, "rsync", f'exec {sys.executable} {self.folder}/stall.py {after} "$@"')
        (self.folder / "stall.py").write_text(_STALL)

    def usual(self, node: str, name: str) -> None:
        """The usual program again."""
        (self.folder / node / "bin" / name).unlink()

    def tool(self, node: str, name: str, text: str) -> None:
        """A program that a node has instead of the usual one."""
        place = self.folder / node / "bin"
        place.mkdir(exist_ok=True)
        (place / name).write_text(f"#!/bin/bash\n{text}\n")
        (place / name).chmod(0o755)

    def log(self) -> str:
        file = self.folder / "ssh.log"
        return file.read_text() if file.exists() else ""

    async def seen(self, node: str) -> tuple[Place, dict[str, Image]]:
        place, images = await look_at(self.shell(), node, ROOT)
        return place, {i.path.rpartition("/")[2]: i for i in images}


def sif(size: int, seed: int) -> bytes:
    """Bytes that read like an image: a SIF header, and what no compressor makes smaller."""
    header = struct.pack(
        "<32s10s3s3s16s8q", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC\0", b"01\0",
        b"02\0", b"", 0, 0, 48, 48, 4096, 28080, 32768, 0,
    )  # fmt: skip
    return (header.ljust(32768, b"\0") + random.Random(seed).randbytes(size))[:size]


def cargo(folder: Path, data: bytes, version: str, app: str = "gedit") -> Cargo:
    import hashlib

    file = folder / f"{app}-{version}.sif"
    file.write_bytes(data)
    return Cargo(app, version, hashlib.sha256(data).hexdigest(), len(data), str(file))


async def deploy(
    site: Site, what: Cargo, *nodes: str, canary: str = "", smoke: Smoke | None = None
) -> Progress:
    progress = Progress(nodes, bytes_total=what.size_bytes)
    await Deployment(site, what, progress, smoke=smoke).run(nodes, canary)
    return progress
