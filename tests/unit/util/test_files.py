"""Files are read as untrusted input and written whole."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vizdash.errors import Refused
from vizdash.util import files
from vizdash.util.files import private_folder, read_own, remove_private_folder, write_whole


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


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "f[1]"
    old, new, other = (tmp_path / n for n in (".f[1].abcd_123", ".f[1].abcd_124", ".f.abcd_123"))
    for part in (old, new, other):
        part.touch()
    for part in (old, other):
        os.utime(part, (0, time.time() - 7200))
    write_whole(path, "text")
    assert {*tmp_path.iterdir()} == {path, new, other}


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's temporary places, as far as the tests may use them."""
    monkeypatch.setattr(files, "_temporary_folders", lambda: [os.environ["TMPDIR"], str(tmp_path)])
    return tmp_path


def test_a_temporary_folder_is_private(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary_folder))
    folder = private_folder()
    assert folder.parent == temporary_folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(folder.iterdir())


@pytest.mark.parametrize("kind", ["missing", "long", "file"])
def test_a_temporary_folder_is_made_elsewhere(
    kind: str, temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = temporary_folder / {"missing": "not-there", "long": "l" * 110, "file": "file"}[kind]
    if kind == "long":
        bad.mkdir()
    elif kind == "file":
        bad.touch()
    monkeypatch.setenv("TMPDIR", str(bad))
    folder = private_folder()
    assert folder.parent == temporary_folder
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system that is full")
def test_a_full_place_is_skipped(tmp_path: Path) -> None:
    program = (
        "from vizdash.util import files; f = files.private_folder(); print(f); "
        "files.remove_private_folder(f)"
    )
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


def _open_for_all(place: Path) -> None:
    place.chmod(0o777)


def _open_for_a_group(place: Path) -> None:
    place.chmod(0o770)


def _open_above(place: Path) -> None:
    place.parent.chmod(0o777)


def _of_another_user(place: Path) -> None:
    os.chown(place, 4711, -1)


def _of_another_user_above(place: Path) -> None:
    os.chown(place.parent, 4711, -1)


_UNSAFE = (_open_for_all, _open_for_a_group, _open_above, _of_another_user, _of_another_user_above)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder to another user")
@pytest.mark.parametrize("opens", _UNSAFE)
@pytest.mark.parametrize("by_link", [False, True])
def test_a_folder_that_others_could_exchange_is_made_elsewhere(
    opens: Callable[[Path], None],
    by_link: bool,
    temporary_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = temporary_folder / "above/of-mine"
    place.mkdir(parents=True, mode=0o700)
    opens(place)
    link = temporary_folder / "link"
    link.symlink_to(place)
    monkeypatch.setenv("TMPDIR", str(link if by_link else place))
    assert private_folder(200).parent == temporary_folder
    assert list(place.iterdir()) == []
    # The sticky bit keeps others from renaming it; not the folder's owner.
    for folder in (place, place.parent):
        os.chown(folder, 0, -1)
        folder.chmod(folder.stat().st_mode | stat.S_ISVTX)
    assert private_folder(200).parent == place


def test_where_no_place_serves_the_first_cause_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [str(tmp_path / "gone"), str(tmp_path / "l" / ("l" * 110))]
    monkeypatch.setattr(files, "_temporary_folders", lambda: places)
    with pytest.raises(Refused) as caught:
        private_folder()
    assert "gone" in caught.value.why
    assert "TMPDIR" in caught.value.line


#: Makes a private folder, prints it, and holds it until its stdin closes; a forked child does so.
_HOLDER = """
import os, sys
from vizdash.util.files import private_folder
folder = private_folder()
(folder / "s").touch()
if sys.argv[1:] == ["fork"] and os.fork():
    os._exit(0)
print(folder, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holder(place: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, with a private folder in ``place`` that was made some time ago."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, *words],
        env={**os.environ, "TMPDIR": str(place)},
        cwd=Path(files.__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        age(folder)
        yield process, folder
        process.communicate(timeout=60)


def age(folder: Path) -> None:
    """Have a folder be an hour old."""
    os.utime(folder, (0, time.time() - 3600))


@pytest.mark.usefixtures("temporary_folder")
def test_the_folder_of_a_killed_process_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(files, "_swept", set())
    others = [tmp_path / name for name in ("vizdash-00000001.AAAAAAAA", "vizdash-x7k2m9qd")]
    new = tmp_path / "vizdash-run_new"
    for folder in (*others, new):
        folder.mkdir()
    for folder in others:
        age(folder)
    with (
        holder(tmp_path) as (victim, killed),
        holder(tmp_path) as (_, alive),
        holder(tmp_path, "fork") as (_, forked),
    ):
        victim.kill()
        victim.wait()
        own = private_folder()
        assert {*tmp_path.iterdir()} == {alive, forked, own, new, *others}
        assert not killed.exists()
        remove_private_folder(own)
        assert not own.exists()


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_a_folder_goes_at_the_latest_with_its_process(
    words: tuple[str, ...], temporary_folder: Path
) -> None:
    with holder(temporary_folder, *words) as (_, folder):
        assert (folder / "s").exists()
    wait_until(lambda: not folder.exists(), "end of the folder")


def test_a_folder_that_is_left_to_another_program_stays(temporary_folder: Path) -> None:
    script = (
        "from vizdash.util import files; f = files.private_folder(); "
        "files.release_private_folder(f); print(f)"
    )
    env = {**os.environ, "TMPDIR": str(temporary_folder)}
    root = Path(files.__file__).parents[2]
    folder = subprocess.run([sys.executable, "-c", script], env=env, cwd=root, check=True,
                            capture_output=True, text=True).stdout.strip()  # fmt: skip
    assert Path(folder).is_dir()


def test_private_folders_hold_no_descriptor_when_they_are_removed(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary_folder))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        remove_private_folder(private_folder())
    assert len(os.listdir("/proc/self/fd")) == before
