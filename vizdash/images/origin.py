"""The image that a deploy takes, from the store of the image host or a file there."""

from __future__ import annotations

import asyncio
import base64
import binascii
import shlex
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from vizdash.errors import NotFound, Refused, UsageError, VizdashError, last_line
from vizdash.images import sif
from vizdash.images.matrix import look_at
from vizdash.images.shell import NodeShell
from vizdash.images.source import Chunks, MissingBytes
from vizdash.images.travel import Cargo
from vizdash.model import RUNTIMES, Image
from vizdash.model.drift import order_key, version_key
from vizdash.transport.base import Command

#: Seconds to read an image whole, for its digest.
_READ_S = 3600.0
_VERIFY_S = 600.0


async def find(shell: NodeShell, app: str, version: str, stores: tuple[str, ...]) -> Image:
    """The image of ``app`` in the first store that has it whole: of this version, or the newest.

    Raises NotFound, naming what there is, and what is wrong with the one that was meant.
    """
    there: list[str] = []
    bad: list[Image] = []
    for store in stores:
        _, images = await look_at(shell, "", store, timeout_s=30)
        mine = [i for i in images if i.app == app and i.version and not i.alias and i.path.endswith(
            f"/{app}-{i.version}.sif"
        )]  # fmt: skip
        fitting = [i for i in mine if version in {"", i.version}]
        if whole := [i for i in fitting if not i.problem]:
            return max(whole, key=lambda i: order_key(i.version, i.modified_at))
        bad += fitting
        there += [i.version for i in mine if not i.problem]
    what = f"{app} {version}".strip()
    has = f"there are {', '.join(sorted(there, key=version_key))}" if there else "none was built"
    why = f"not in {' or '.join(stores)}"
    if bad:
        last = max(bad, key=lambda i: order_key(i.version, i.modified_at))
        why, has = f"{last.path}: {last.problem}", has if there else "there is no other"
    raise NotFound(f"image of {what}", why, f"{has}: vizdash build")


async def of_file(shell: NodeShell, app: str, path: str, version: str) -> Image:
    """A file of the image host, with the version in its labels or its name unless one is given.

    Raises UsageError when it tells none.
    """
    name = path.rpartition("/")[2].removesuffix(".sif")
    named = name.removeprefix(f"{app}-") if name.startswith(f"{app}-") else ""
    image = Image(app, path, version or named)
    info = await _metadata(shell, image)
    chosen = version or info.version or named
    if not chosen:
        raise UsageError(path, "it tells no version", "give one with --version")
    return Image(app, path, chosen, info.size_bytes)


async def cargo_of(shell: NodeShell, image: Image, *, signed: bool, force: bool = False) -> Cargo:
    """The image as it will travel: read whole once, and known to be one that can run.

    Raises Refused for a file that is no image, has no signature that verifies where one is
    demanded, or (unless ``force``) whose labels name another app or version.
    """
    if not sif.VERSION.fullmatch(image.version):
        raise UsageError(f"version {image.version!r}", "letters, digits and ._+- are expected")
    info = await _metadata(shell, image)
    if info.problem:
        raise Refused(image.path, info.problem, "build it again")
    if not force:
        _check_labels(image, info)
    if signed:
        await verify_signature(shell, image.path)
    digest = image.digest or await _digest(shell, image.path)
    return Cargo(image.app, image.version, digest, image.size_bytes, image.path, info.arch)


def _check_labels(image: Image, info: sif.SifInfo) -> None:
    for what, here, labelled in (
        ("app", image.app, info.app),
        ("version", image.version, info.version),
    ):
        if labelled and labelled != here:
            why = f"its label names {what} {labelled[:64]!r}, not {here!r}"
            raise Refused(image.path, why, "vizdash deploy --force takes it all the same")


async def _metadata(shell: NodeShell, image: Image) -> sif.SifInfo:
    size, text = await shell.ask("", "head_of", image.path)
    try:
        data = zlib.decompressobj(wbits=31).decompress(base64.b64decode(text), 1 << 20)
        chunks = Chunks(image.path, int(size), data)
        return await _parsed(shell, chunks, image.path)
    except (binascii.Error, zlib.error, ValueError) as e:
        raise VizdashError(image.path, "its beginning can't be read") from e


async def _parsed(shell: NodeShell, chunks: Chunks, path: str) -> sif.SifInfo:
    for _ in range(4):
        try:
            return sif.parse(chunks)
        except MissingBytes as missing:
            script = f"tail -c +{missing.offset + 1} {shlex.quote(path)} | head -c {missing.length}"
            words = ("sh", "-c", f"{script} | base64 -w0")
            result = await shell.runner.run(Command(words))
            chunks.add(missing.offset, base64.b64decode(result.check("head").stdout))
    raise VizdashError(path, "its metadata lie in too many places")


async def _digest(shell: NodeShell, path: str) -> str:
    command = Command(("sha256sum", "-b", "--", path), timeout_s=_READ_S)
    result = await shell.runner.run(command)
    return result.check("sha256sum").stdout.lstrip("\\")[:64]


#: What Apptainer's last line holds, what it means, and the mend.
_VERDICTS = (
    ("signature not found", "it has no signature", "apptainer sign {path}"),
    (
        "unknown entity",
        "its signer's key is not in this account's keyring",
        "apptainer key import FILE, if you trust it",
    ),
    ("integrity compromised", "it is not what was signed", "build and sign it again"),
)


async def verify_signature(shell: NodeShell, path: str, *, name: str = "") -> None:
    """Apptainer's own check, against the keys in the caller's keyring alone: it would take any
    key that a public key server has, and anybody can put one there. ``name`` is what people know
    the image by.

    Raises Refused.
    """
    program = next((name for name in RUNTIMES if shell.runner.has(name)), RUNTIMES[0])
    command = Command((program, "verify", "--local", path), timeout_s=_VERIFY_S)
    result = await shell.runner.run(command)
    if result.code == 0:
        return
    said = last_line(result.stderr).partition("FATAL:")[2].strip()
    why, mend = (
        f"its signature does not verify: {said or last_line(result.stderr)}",
        "sign it again",
    )
    for words, means, how in _VERDICTS:
        if words in said:
            why, mend = means, how.format(path=name or path)
    raise Refused(name or path, f"{why} (deploy.signed demands one)", mend)


#: ``sh -c _SEAL seal TMPDIR APP IMAGE``: a copy in a folder of one's own; what a killed deploy of
#: this app left of such goes (it held the app's lease, and so do we).
_SEAL = """
umask 077
parent=${1:-${TMPDIR:-/var/tmp}}
find "$parent" -maxdepth 1 -type d -user "$(id -u)" -name "vizdash-signed-$2.*" -exec rm -rf -- {} +
folder=$(mktemp -d "$parent/vizdash-signed-$2.XXXXXXXX") || exit 1
[ -O "$folder" ] && cp -- "$3" "$folder/image.sif" && printf %s "$folder" && exit
rm -rf -- "$folder"
exit 1
"""


@asynccontextmanager
async def sealed(shell: NodeShell, cargo: Cargo, tmpdir: str) -> AsyncIterator[Cargo]:
    """A copy of the image in a folder (0700) that only the caller can change, hashed and with its
    signature verified there; it is that copy which travels. ``tmpdir`` is where it is made (empty:
    TMPDIR or /var/tmp).

    Raises Refused where it is not what was planned, or does not verify.
    """
    words = ("sh", "-c", _SEAL, "seal", tmpdir, cargo.app, cargo.path)
    result = await shell.runner.run(Command(words, timeout_s=_READ_S))
    folder = result.check("cp").stdout
    try:
        path = f"{folder}/image.sif"
        if await _digest(shell, path) != cargo.digest:
            raise Refused(cargo.path, "it has changed since it was looked at", "deploy again")
        await verify_signature(shell, path, name=cargo.path)
        yield replace(cargo, path=path)
    finally:
        remove = Command(("rm", "-rf", "--", folder), timeout_s=_VERIFY_S)
        await asyncio.shield(shell.runner.run(remove))
