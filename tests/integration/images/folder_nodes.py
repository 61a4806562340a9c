"""Nodes that are folders of this machine, reached by a program named ssh that runs its command
here.

images.sh, rsync, flock and sha256sum are the real ones.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from pathlib import Path

import pytest

from vizdash.config import Deploy
from vizdash.images.copy import SourceImage
from vizdash.images.deploy import Deployment, DeploySite, SmokeTest
from vizdash.images.distribution import choose_copy_method
from vizdash.images.node_script import NodeShell
from vizdash.images.progress import ChangeProgress
from vizdash.images.survey import PATIENT_S, survey_node
from vizdash.model import Image, ImageRoot
from vizdash.transport.local import LocalRunner

ROOT = "/IMAGEROOT"
_SSH = r"""#!/bin/bash
# ssh [OPTIONS] NODE COMMAND...
while [ $# -gt 0 ]; do
  case $1 in
    -o | -l | -S) shift 2 ;;
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


class FolderNodes:
    """Folders that stand for nodes, and a store of images."""

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

    def site(self, **deploy: object) -> DeploySite:
        shell = self.shell(**deploy)
        return DeploySite(shell, ROOT, choose_copy_method(shell, ROOT))

    def add(self, *nodes: str) -> None:
        for node in nodes:
            (self.folder / node).mkdir()

    def root(self, node: str) -> Path:
        return self.folder / node / "root"

    def files(self, node: str, app: str = "gedit") -> set[str]:
        folder = self.root(node) / app
        return {f.name for f in folder.iterdir()} if folder.is_dir() else set()

    def stalls(self, node: str, after: int = 2_000_000) -> None:
        """Let the node's rsync stall after so many bytes, until the connection ends."""
        self.tool(node, "rsync", f'exec {sys.executable} {self.folder}/stall.py {after} "$@"')
        (self.folder / "stall.py").write_text(_STALL)

    def usual(self, node: str, name: str) -> None:
        """Restore a program that ``tool`` replaced."""
        (self.folder / node / "bin" / name).unlink()

    def tool(self, node: str, name: str, text: str) -> None:
        """Replace a program on a node."""
        place = self.folder / node / "bin"
        place.mkdir(exist_ok=True)
        (place / name).write_text(f"#!/bin/bash\n{text}\n")
        (place / name).chmod(0o755)

    def log(self) -> str:
        file = self.folder / "ssh.log"
        return file.read_text() if file.exists() else ""

    async def survey(self, node: str) -> tuple[ImageRoot, dict[str, Image]]:
        place, images = await survey_node(self.shell(), node, ROOT, timeout_s=PATIENT_S)
        return place, {i.path.rpartition("/")[2]: i for i in images}


def sif_like_bytes(size: int, seed: int) -> bytes:
    """Return a SIF header followed by incompressible bytes."""
    header = struct.pack(
        "<32s10s3s3s16s8q", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC\0", b"01\0",
        b"02\0", b"", 0, 0, 48, 48, 4096, 28080, 32768, 0,
    )  # fmt: skip
    return (header.ljust(32768, b"\0") + random.Random(seed).randbytes(size))[:size]


def write_image(folder: Path, data: bytes, version: str, app: str = "gedit") -> SourceImage:
    import hashlib

    file = folder / f"{app}-{version}.sif"
    file.write_bytes(data)
    return SourceImage(app, version, hashlib.sha256(data).hexdigest(), len(data), str(file))


async def deploy(
    site: DeploySite,
    what: SourceImage,
    *nodes: str,
    canary: str = "",
    smoke: SmokeTest | None = None,
) -> ChangeProgress:
    progress = ChangeProgress(nodes, bytes_total=what.size_bytes)
    await Deployment(site, what, progress, smoke=smoke).run(nodes, canary)
    return progress
