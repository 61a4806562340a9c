"""Finds and checks the image to deploy, in the image host's store or a file there."""

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
from vizdash.images.copy import SourceImage
from vizdash.images.node_script import NodeShell
from vizdash.images.sif import FetchedBytes, MissingBytes
from vizdash.images.survey import survey_node
from vizdash.model import RUNTIMES, Image
from vizdash.model.version import order_key, version_key
from vizdash.transport.base import Command

#: Seconds to read a whole image for its digest.
_READ_S = 3600.0
_VERIFY_S = 600.0


async def find_image(shell: NodeShell, app: str, version: str, stores: tuple[str, ...]) -> Image:
    """Return an image of ``app`` from the first store that has an intact one: this version, or the
    newest.

    Raises NotFound naming what the stores have, and any problem of the requested image.
    """
    versions: list[str] = []
    bad: list[Image] = []
    for store in stores:
        _, images = await survey_node(shell, "", store, timeout_s=30)
        app_images = [
            i
            for i in images
            if i.app == app and i.version and not i.alias
            if i.path.endswith(f"/{app}-{i.version}.sif")
        ]
        fitting = [i for i in app_images if version in {"", i.version}]
        if whole := [i for i in fitting if not i.problem]:
            return max(whole, key=lambda i: order_key(i.version, i.modified_at))
        bad += fitting
        versions += [i.version for i in app_images if not i.problem]
    what = f"{app} {version}".strip()
    has = (
        f"there are {', '.join(sorted(versions, key=version_key))}"
        if versions
        else "none has been built"
    )
    why = f"not in {' or '.join(stores)}"
    if bad:
        last = max(bad, key=lambda i: order_key(i.version, i.modified_at))
        why, has = f"{last.path}: {last.problem}", has if versions else "there is no other"
    raise NotFound(f"image of {what}", why, f"{has}: vizdash build")


async def describe_file(shell: NodeShell, app: str, path: str, version: str) -> Image:
    """Describe a file of the image host as an image.

    Without ``version``, its labels or its name give the version. Raises UsageError when neither
    does.
    """
    name = path.rpartition("/")[2].removesuffix(".sif")
    named = name.removeprefix(f"{app}-") if name.startswith(f"{app}-") else ""
    image = Image(app, path, version or named)
    await _check_file(shell, path)
    info = await _metadata(shell, image)
    chosen = version or info.version or named
    if not chosen:
        raise UsageError(path, "it names no version", "give one with --version")
    return Image(app, path, chosen, info.size_bytes)


#: ``sh -c _KIND kind FILE``: prints what a file is that is not a readable regular file.
_KIND = """
if [ ! -e "$1" ]; then echo 'no such file'
elif [ -d "$1" ]; then echo 'a folder'
elif [ ! -f "$1" ]; then echo 'not a regular file'
elif [ ! -r "$1" ]; then echo "$(id -un) may not read it"
fi
"""


async def _check_file(shell: NodeShell, path: str) -> None:
    """Raise UsageError for a path that cannot be an image; reading a FIFO would never end."""
    result = await shell.runner.run(Command(("sh", "-c", _KIND, "kind", path)))
    if problem := result.check("sh").stdout.strip():
        raise UsageError(path, problem, "give an image file of this machine")


async def prepare_source(
    shell: NodeShell, image: Image, *, signed: bool, force: bool = False
) -> SourceImage:
    """Read an image whole, compute its digest, and check that Apptainer can run it.

    Raises Refused for a file that is no image, for one without a valid signature where signatures
    are required, and (without ``force``) for one whose labels name another app or version.
    """
    if not sif.VERSION.fullmatch(image.version):
        raise UsageError(f"version {image.version!r}", "use letters, digits and ._+-")
    info = await _metadata(shell, image)
    if info.problem:
        raise Refused(image.path, info.problem, "build it again")
    if not force:
        _check_labels(image, info)
    if signed:
        await verify_signature(shell, image.path)
    digest = image.digest or await _digest(shell, image.path)
    return SourceImage(image.app, image.version, digest, image.size_bytes, image.path, info.arch)


def _check_labels(image: Image, info: sif.SifInfo) -> None:
    for what, here, labelled in (
        ("app", image.app, info.app),
        ("version", image.version, info.version),
    ):
        if labelled and labelled != here:
            why = f"its label names {what} {labelled[:64]!r}, not {here!r}"
            raise Refused(image.path, why, "vizdash deploy --force accepts it")


async def _metadata(shell: NodeShell, image: Image) -> sif.SifInfo:
    size, text = await shell.ask("", "head_of", image.path)
    try:
        data = zlib.decompressobj(wbits=31).decompress(base64.b64decode(text), 1 << 20)
        chunks = FetchedBytes(image.path, int(size), data)
        return await _parsed(shell, chunks, image.path)
    except (binascii.Error, zlib.error, ValueError) as e:
        raise VizdashError(image.path, "its metadata can't be read") from e


async def _parsed(shell: NodeShell, chunks: FetchedBytes, path: str) -> sif.SifInfo:
    for _ in range(4):
        try:
            return sif.parse(chunks)
        except MissingBytes as missing:
            script = f"tail -c +{missing.offset + 1} {shlex.quote(path)} | head -c {missing.length}"
            words = ("sh", "-c", f"{script} | base64 -w0")
            result = await shell.runner.run(Command(words))
            chunks.add(missing.offset, base64.b64decode(result.check("head").stdout))
    raise VizdashError(path, "its metadata are scattered over too many places")


async def _digest(shell: NodeShell, path: str) -> str:
    command = Command(("sha256sum", "-b", "--", path), timeout_s=_READ_S)
    result = await shell.runner.run(command)
    return result.check("sha256sum").stdout.lstrip("\\")[:64]


#: Text in Apptainer's last line, what it means, and the fix.
_VERDICTS = (
    ("signature not found", "it has no signature", "apptainer sign {path}"),
    (
        "unknown entity",
        "its signer's key is not in this account's keyring",
        "apptainer key import FILE, if you trust it",
    ),
    ("integrity compromised", "it was changed after it was signed", "build and sign it again"),
)


async def verify_signature(shell: NodeShell, path: str, *, name: str = "") -> None:
    """Verify an image's signature with Apptainer, against the keys in the caller's keyring only.

    Without ``--local`` Apptainer would accept any key from a public key server, where anyone can
    publish one. ``name`` is the image's name for messages. Raises Refused.
    """
    program = next((name for name in RUNTIMES if shell.runner.has(name)), RUNTIMES[0])
    command = Command((program, "verify", "--local", path), timeout_s=_VERIFY_S)
    result = await shell.runner.run(command)
    if result.code == 0:
        return
    message = last_line(result.stderr).partition("FATAL:")[2].strip()
    why, fix = (
        f"its signature does not verify: {message or last_line(result.stderr)}",
        "sign it again",
    )
    for words, means, how in _VERDICTS:
        if words in message:
            why, fix = means, how.format(path=name or path)
    raise Refused(name or path, f"{why} (deploy.signed requires one)", fix)


#: ``sh -c _SEAL seal TMPDIR APP IMAGE``: copies the image into a private folder that nobody else
#: can exchange. Deletes folders left by killed deploys of this app, which held the same lock that
#: we now hold.
_SEAL = """
umask 077
parent=${1:-${TMPDIR:-/var/tmp}}
if [ -n "$(find -H "$parent" -maxdepth 0 -perm -0002 ! -perm -1000)" ]; then
  echo "anyone can rename files in $parent (chmod +t $parent, or set build.tmpdir)" >&2
  exit 1
fi
find "$parent" -maxdepth 1 -type d -user "$(id -u)" -name "vizdash-signed-$2.*" -exec rm -rf -- {} +
folder=$(mktemp -d "$parent/vizdash-signed-$2.XXXXXXXX") || exit 1
[ -O "$folder" ] && cp -- "$3" "$folder/image.sif" && printf %s "$folder" && exit
rm -rf -- "$folder"
exit 1
"""


@asynccontextmanager
async def sealed_copy(
    shell: NodeShell, source: SourceImage, tmpdir: str
) -> AsyncIterator[SourceImage]:
    """Copy the image to a folder (0700) that only the caller can change, and verify that copy.

    The copy's digest and signature are verified, and the copy is what is deployed. ``tmpdir`` is
    where it is made (empty: TMPDIR or /var/tmp). Raises Refused if it has changed or does not
    verify.
    """
    words = ("sh", "-c", _SEAL, "seal", tmpdir, source.app, source.path)
    result = await shell.runner.run(Command(words, timeout_s=_READ_S))
    folder = result.check("cp").stdout
    try:
        path = f"{folder}/image.sif"
        if await _digest(shell, path) != source.digest:
            raise Refused(source.path, "it has changed since it was checked", "deploy again")
        await verify_signature(shell, path, name=source.path)
        yield replace(source, path=path)
    finally:
        remove = Command(("rm", "-rf", "--", folder), timeout_s=_VERIFY_S)
        await asyncio.shield(shell.runner.run(remove))
