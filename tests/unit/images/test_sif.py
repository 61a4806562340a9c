"""The SIF reader on heads of real images, and on every kind of damage."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.images.recorded_images import SIZES, head, image
from vizdash.errors import VizdashError
from vizdash.images import sif
from vizdash.images.sif import FetchedBytes, MissingBytes

DESCRIPTORS = 4096
ENTRY = 585


def changed(path: Path, offset: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


def test_reads_what_apptainer_wrote(tmp_path: Path) -> None:
    info = sif.read(image(tmp_path, "tiny"))
    assert info.arch == "amd64"
    assert info.version == "1.1"
    assert info.filesystem == "squashfs"
    assert info.labels["App"] == "tiny"
    assert info.labels["org.label-schema.usage.apptainer.version"] == "1.4.5"
    assert "Version 1.1" in info.definition
    assert "exec true" in info.definition
    assert info.has_metadata
    assert info.problem == ""
    assert info.signatures == () and not info.signed
    assert 1_700_000_000 < info.created_at <= info.modified_at
    assert info.size_bytes == SIZES["tiny"]


def test_reads_a_large_image_from_its_head_alone(tmp_path: Path) -> None:
    info = sif.read(image(tmp_path, "gedit"))
    assert (info.version, info.labels["App"]) == ("1.0", "gedit")
    source = FetchedBytes("gedit.sif", SIZES["gedit"], head("gedit")[: sif.HEAD_BYTES])
    with pytest.raises(MissingBytes) as missing:
        sif.parse(source)
    at, length = missing.value.offset, missing.value.length
    source.add(at, head("gedit")[at : at + length])
    assert sif.parse(source) == info


def test_a_signature_is_seen_with_its_key_and_what_it_covers(tmp_path: Path) -> None:
    # A signature comes last: its descriptor is all that is needed.
    info = sif.read(image(tmp_path, "signed"))
    (signature,) = info.signatures
    assert len(signature.fingerprint) == 40
    assert (signature.group, signature.object_id) == (1, 0)
    assert info.signed


def test_a_signature_of_another_object_does_not_count(tmp_path: Path) -> None:
    path = changed(image(tmp_path, "signed"), DESCRIPTORS + 3 * ENTRY + 13, struct.pack("<I", 1))
    info = sif.read(path)
    assert info.signatures[0].object_id == 1
    assert not info.signed


def test_an_image_without_metadata_is_an_image(tmp_path: Path) -> None:
    info = sif.read(image(tmp_path, "plain"))
    assert (info.arch, info.filesystem, info.problem) == ("amd64", "squashfs", "")
    assert (info.labels, info.definition, info.version) == ({}, "", "")
    assert not info.has_metadata


def test_a_sif_without_a_system_is_reported(tmp_path: Path) -> None:
    info = sif.read(image(tmp_path, "empty"))
    assert info.problem == "it has no system partition"
    assert info.arch == ""


def test_an_oci_sif_is_reported(tmp_path: Path) -> None:
    path = changed(image(tmp_path, "plain"), DESCRIPTORS, struct.pack("<i", 0x400A))
    assert "OCI-SIF" in sif.read(path).problem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hsqs" + bytes(200), "a bare squashfs image"),
        (b"\x7fELF" + bytes(200), "a program"),
        (b"<!DOCTYPE html><title>404</title>", "HTML or XML text"),
        (b"#!/bin/sh\necho hello to all who read this text of some length\n", "a script"),
        (b"App gedit\nVersion 1.0\n", "text"),
        (bytes(5000), "zeros"),
        (b"\x01\x02\x03" * 99, "unknown data"),
    ],
)
def test_other_kinds_of_files_are_recognised(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(content)
    with pytest.raises(sif.NotSif, match=words) as error:
        sif.read(path)
    assert error.value.what == str(path)


@pytest.mark.parametrize("size", [0, 30, 45, 127, 128, 4096, 32175])
def test_a_file_cut_before_its_table_ends(tmp_path: Path, size: int) -> None:
    path = image(tmp_path, "tiny")
    with path.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(sif.TruncatedSif):
        sif.read(path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = image(tmp_path, "tiny")
    for size in (32176, 33000, 40960, SIZES["tiny"] // 2, SIZES["tiny"] - 1):
        with path.open("r+b") as file:
            file.truncate(SIZES["tiny"])
            file.truncate(size)
        with pytest.raises(sif.TruncatedSif, match=f"it has {size} bytes"):
            sif.read(path)


@pytest.mark.parametrize(
    ("offset", "data", "words"),
    [
        (42, b"02\0", "SIF version '02'"),
        (88, struct.pack("<q", -1), "impossible table"),
        (88, struct.pack("<q", 1 << 40), "impossible table"),
        (96, struct.pack("<q", 0), "impossible table"),
        (DESCRIPTORS + 17, struct.pack("<q", -5), "impossible offset"),
        (DESCRIPTORS + 25, struct.pack("<q", -5), "impossible offset"),
        (DESCRIPTORS + 25, struct.pack("<q", 1 << 62), "ends at"),
    ],
)
def test_damage_of_the_header(tmp_path: Path, offset: int, data: bytes, words: str) -> None:
    with pytest.raises(sif.SifError, match=words):
        sif.read(changed(image(tmp_path, "tiny"), offset, data))


def metadata_at() -> tuple[int, int]:
    entry = head("tiny")[DESCRIPTORS + ENTRY : DESCRIPTORS + 2 * ENTRY]
    offset, size = struct.unpack_from("<qq", entry, 17)
    return offset, size


@pytest.mark.parametrize(
    "text",
    [b"nonsense", b"[" * 1900, b"\xff\xfe\x00"],
    ids=["words", "nested too deep", "no UTF-8"],
)
def test_damage_of_the_metadata(tmp_path: Path, text: bytes) -> None:
    offset, size = metadata_at()
    path = changed(image(tmp_path, "tiny"), offset, text.ljust(size)[:size])
    with pytest.raises(sif.DamagedSif, match="its metadata is not JSON"):
        sif.read(path)


@pytest.mark.parametrize(
    "tree",
    [
        None, 3, [], {"data": 1}, {"data": {"attributes": []}},
        {"data": {"attributes": {"labels": {"Version": 3, "n": None}}}},
    ],
)  # fmt: skip
def test_metadata_of_another_shape_is_no_metadata(tmp_path: Path, tree: object) -> None:
    offset, size = metadata_at()
    text = json.dumps(tree).encode().ljust(size)
    assert sif.read(changed(image(tmp_path, "tiny"), offset, text)).labels == {}


def test_a_partition_that_is_no_squashfs(tmp_path: Path) -> None:
    entry = head("tiny")[DESCRIPTORS + 2 * ENTRY : DESCRIPTORS + 3 * ENTRY]
    (offset,) = struct.unpack_from("<q", entry, 17)
    with pytest.raises(sif.DamagedSif, match="not a squashfs"):
        sif.read(changed(image(tmp_path, "tiny"), offset, bytes(96)))
    with pytest.raises(sif.DamagedSif, match="in a partition of"):
        sif.read(changed(image(tmp_path, "plain"), 32768 + 40, struct.pack("<q", 1 << 50)))


@pytest.mark.parametrize(
    ("labels", "version"),
    [
        ({"vizdash.version": "2.0"}, "2.0"),
        ({"vizdash.version": "2.0", "Version": "1.0", "App": "x"}, "2.0"),
        ({"App": "gedit", "Version": " 2.1 "}, "2.1"),
        ({"vizdash.definition": "gedit.def", "Version": "2.2"}, "2.2"),
        # What base images bring: nvidia/cuda, Red Hat's UBI, old builders.
        ({"org.opencontainers.image.version": "22.04", "App": "x"}, ""),
        ({"version": "9.4", "name": "ubi9"}, ""),
        ({"Version": "9.4"}, ""),
        ({"org.label-schema.version": "4"}, ""),
        ({"App": "x", "Version": "../../etc/passwd"}, ""),
        ({"App": "x", "Version": "1 0"}, ""),
        ({"App": "x", "Version": "-rf"}, ""),
        ({}, ""),
    ],
)
def test_the_version_comes_only_from_vizdashs_label(labels: dict[str, str], version: str) -> None:
    assert sif.SifInfo(1, labels=labels).version == version


def test_an_encrypted_image_is_reported(tmp_path: Path) -> None:
    """Its file system is of kind 5 (sif-v2, pkg/sif/sif.go: FsEncryptedSquashfs)."""
    partition = DESCRIPTORS + 2 * ENTRY + ENTRY - 384
    path = changed(image(tmp_path, "tiny"), partition, struct.pack("<i", 5))
    info = sif.read(path)
    assert info.filesystem == "encrypted squashfs"
    assert "it is encrypted" in info.problem


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.sif"):
        with pytest.raises(sif.SifError, match="directory"):
            sif.read(path)


def test_the_digest_is_sha256sums(tmp_path: Path) -> None:
    path = image(tmp_path, "tiny")
    output = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert sif.digest(path) == output.split()[0]


class Whole:
    """A Source over bytes."""

    name = "fuzzed.sif"

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size

    def at(self, offset: int, length: int) -> bytes:
        assert offset >= 0 and length >= 0
        assert length <= 4 << 20, "a forged size must not be read into memory"
        return self.data[offset : min(offset + length, self.size)]


EDITS = st.lists(
    st.tuples(
        st.one_of(
            st.integers(0, 128),
            st.integers(DESCRIPTORS, DESCRIPTORS + 5 * ENTRY),
            st.integers(32176, 41055),
        ),
        st.one_of(
            st.binary(min_size=1, max_size=9),
            st.integers(-(1 << 63), (1 << 63) - 1).map(lambda n: struct.pack("<q", n)),
            st.sampled_from([0x4001, 0x4003, 0x4004, 0x4005, 0x4006, 0x400A]).map(
                lambda n: struct.pack("<i?", n, True)
            ),
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=400)
@given(
    name=st.sampled_from(["tiny", "signed", "plain", "gedit", "empty"]),
    edits=EDITS,
    size=st.one_of(st.none(), st.integers(0, 50_000)),
)
def test_any_damage_ends_in_an_answer(
    name: str, edits: list[tuple[int, bytes]], size: int | None
) -> None:
    data = bytearray(head(name))
    for offset, patch in edits:
        data[offset : offset + len(patch)] = patch
    whole = Whole(bytes(data), SIZES[name] if size is None else size)
    with contextlib.suppress(sif.SifError):
        info = sif.parse(whole)
        assert info.size_bytes == whole.size
        assert info.version == "" or sif.VERSION.fullmatch(info.version)
        assert 0 <= info.created_at < 1 << 40
        repr(info)


@given(st.binary(max_size=300), st.integers(0, 1 << 70))
def test_any_bytes_end_in_an_answer(data: bytes, size: int) -> None:
    with pytest.raises(VizdashError):
        sif.parse(Whole(data, min(size, len(data))))


def test_reading_needs_no_more_than_the_standard_library() -> None:
    code = "import sys; import vizdash.images.sif; print([m for m in sys.modules if 'yaml' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
