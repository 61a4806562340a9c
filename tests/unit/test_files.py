"""Files are read with suspicion and written whole."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vizdash import files
from vizdash.errors import Refused
from vizdash.files import private_folder, read_own, write_whole


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_whole(path, "grüße\n")
    assert read_own(path) == "grüße\n"
    assert path.stat().st_mode & 0o777 == 0o600
    write_whole(path, "new", mode=0o644)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o644)


def test_only_a_regular_file_counts(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("x")
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe", "missing", "real/below"):
        assert read_own(tmp_path / name) is None, name


def test_someone_elses_file_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_text("planted")
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert read_own(path) is None


def test_a_large_file_does_not_count_and_bad_bytes_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\xffb")
    assert read_own(path) == "a\ufffdb"
    assert read_own(path, limit=3) == "a\ufffdb"
    assert read_own(path, limit=2) is None


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read_own(tmp_path / "folder")
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 1


@pytest.mark.parametrize("text", ["bad \udcff surrogate"])
def test_a_failed_write_leaves_the_old_text_and_nothing_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "f"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, text)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_leaves_the_old_text_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_whole(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "f").symlink_to(target)
    write_whole(tmp_path / "f", "new")
    assert target.read_text() == "mine"
    assert read_own(tmp_path / "f") == "new"


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "f"
    texts = {letter * 100_000 for letter in "ab"}
    write_whole(path, "a" * 100_000)
    done = threading.Event()

    def write() -> None:
        for n in range(60):
            write_whole(path, "ab"[n % 2] * 100_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not done.is_set():
            assert read_own(path) in texts
    finally:
        writer.join()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's temporary places, as far as the tests may use them."""
    monkeypatch.setattr(files, "_temporary_places", lambda: [os.environ["TMPDIR"], str(tmp_path)])
    return tmp_path


def test_a_temporary_folder_is_ours_alone(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(places))
    folder = private_folder()
    assert folder.parent == places
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(folder.iterdir())


@pytest.mark.parametrize("kind", ["missing", "long", "file"])
def test_a_temporary_folder_is_made_elsewhere(
    kind: str, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = places / {"missing": "not-there", "long": "l" * 110, "file": "file"}[kind]
    if kind == "long":
        bad.mkdir()
    elif kind == "file":
        bad.touch()
    monkeypatch.setenv("TMPDIR", str(bad))
    folder = private_folder()
    assert folder.parent == places
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system that is full")
def test_a_full_place_is_passed_over(tmp_path: Path) -> None:
    program = "from vizdash.files import private_folder; f = private_folder(); print(f); f.rmdir()"
    script = (
        'mount -t tmpfs -o size=64k full "$TMPDIR" && head -c 64k /dev/zero >"$TMPDIR/all"; '
        '"$1" -c "$2"; ls -A "$TMPDIR"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(files.__file__).parents[1],
    )
    made, *left = done.stdout.split()
    assert made.startswith("/tmp/vizdash-"), done
    assert left == ["all"]


def test_where_no_place_serves_the_first_cause_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [str(tmp_path / "gone"), str(tmp_path / "l" / ("l" * 110))]
    monkeypatch.setattr(files, "_temporary_places", lambda: places)
    with pytest.raises(Refused) as caught:
        private_folder()
    assert "gone" in caught.value.why
    assert "TMPDIR" in caught.value.line
