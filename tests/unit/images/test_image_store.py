"""The image store: nothing half-made is an image, and a version never changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.images.recorded_images import image
from vizdash.errors import NotFound, Refused
from vizdash.images import sif
from vizdash.images.image_store import BuiltImage, ImageStore


def built(store: ImageStore, version: str, work: Path) -> BuiltImage:
    path = image(work, "tiny")
    return BuiltImage(
        "gedit", version, digest=sif.digest(path), size_bytes=path.stat().st_size, built_at=5
    )


def publish(store: ImageStore, version: str, *, replace: bool = False) -> Path:
    with store.work_folder("gedit") as work:
        record = built(store, version, work)
        return store.publish(work / "tiny.sif", record, replace=replace)


def test_an_image_gets_its_name_and_its_record(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "store")
    path = publish(store, "1.0")
    assert path == tmp_path / "store/gedit/gedit-1.0.sif"
    assert path.stat().st_mode & 0o777 == 0o644
    (found,) = store.list_images("gedit")
    assert (found.version, found.built_at, found.path) == ("1.0", 5, str(path))
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_version_is_never_overwritten_unless_requested(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    first = publish(store, "1.0").stat().st_ino
    with pytest.raises(Refused, match="that version already exists"):
        publish(store, "1.0")
    assert store.image_path("gedit", "1.0").stat().st_ino == first
    assert publish(store, "1.0", replace=True).stat().st_ino != first


def test_the_newest_is_found_and_a_missing_one_names_the_rest(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    for at, version in ((20, "1.0"), (30, "1.1"), (10, "0.9")):
        os.utime(publish(store, version), (at, at))
    assert [b.version for b in store.list_images("gedit")] == ["0.9", "1.0", "1.1"]
    assert store.find_image("gedit").version == "1.1"
    assert store.find_image("gedit", "1.0").version == "1.0"
    with pytest.raises(NotFound, match=r"has 0\.9, 1\.0, 1\.1"):
        store.find_image("gedit", "2.0")
    with pytest.raises(NotFound, match="vizdash build other"):
        store.find_image("other")


def test_work_in_progress_is_no_image_and_is_swept_when_its_owner_is_gone(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    with store.work_folder("gedit") as work:
        (work / "gedit-9.sif").write_bytes(b"half")
        assert store.list_images("gedit") == ()
        assert store.remove_stale_work("gedit") == ()
        assert work.exists()
    assert not work.exists()
    dead = tmp_path / "gedit" / ".build-dead"
    dead.mkdir()
    (dead / "lock").touch()
    assert store.remove_stale_work("gedit") == (".build-dead",)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", '{"app": 3}', '{"app": "gedit", "version": "1.0"}']
)
def test_a_record_that_does_not_fit_is_left_out(tmp_path: Path, text: str) -> None:
    store = ImageStore(tmp_path)
    publish(store, "1.0").with_suffix(".json").write_text(text)
    (found,) = store.list_images("gedit")
    assert (found.version, found.digest) == ("1.0", "")


@pytest.mark.parametrize("version", ["", "../x", "a b", "-1", ".x"])
def test_versions_are_file_names(tmp_path: Path, version: str) -> None:
    with pytest.raises(Refused):
        ImageStore(tmp_path).image_path("gedit", version)


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Refused, match="image_store"),
        ImageStore(tmp_path / "file").work_folder("gedit"),
    ):
        pass
