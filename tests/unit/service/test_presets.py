"""Saved presets: what was saved is read back; bad names and bad files are refused."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from functools import partial
from pathlib import Path

import pytest

from vizdash.errors import UsageError, VizdashError
from vizdash.model import Resources, SessionRequest
from vizdash.service import presets as module
from vizdash.service.presets import Presets
from vizdash.util.files import write_whole

REQUEST = SessionRequest(
    "paraview", Resources(8, 16384, 1, 7200), node="n1", account="lab", extra=("--exclusive",)
)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state" / "presets.json"
    Presets(path).save("big one", REQUEST)
    assert Presets(path).of("paraview") == {"big one": REQUEST}
    assert Presets(path).of("desktop") == {}


def test_one_of_that_name_is_replaced_and_can_be_removed(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "p.json")
    presets.save("a", REQUEST)
    presets.save("a", SessionRequest("paraview"))
    assert presets.of("paraview") == {"a": SessionRequest("paraview")}
    presets.remove("paraview", "a")
    presets.remove("paraview", "a")
    presets.remove("none", "a")
    assert presets.of("paraview") == {}


@pytest.mark.parametrize("name", ["", " a", "x" * 25, "a\nb", "\x1b[2J", "★ a"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Presets(tmp_path / "p.json").save(name, REQUEST)


def test_they_are_bounded(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "p.json")
    for n in range(20):
        presets.save(f"p{n}", REQUEST)
    with pytest.raises(UsageError, match="20 are saved"):
        presets.save("one more", REQUEST)
    presets.save("p3", REQUEST)


@pytest.mark.parametrize("text", ["{", "[]", '{"paraview": {"a": {}}}', '{"paraview": 5}'])
def test_a_bad_file_holds_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    assert Presets(path).of("paraview") == {}


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VizdashError, match=r"p\.json: File exists"):
        Presets(tmp_path / "file" / "p.json").save("a", REQUEST)


def test_what_cannot_be_read_stays_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Presets(path).save("a", REQUEST)
    later = {"resources": {"cores": 2, "sockets": 1}}
    whole = json.loads(path.read_text())
    whole["paraview"] |= {"later": later, "odd": 7}
    path.write_text(json.dumps(whole | {"gedit": 5}))
    assert Presets(path).of("paraview") == {"a": REQUEST}
    Presets(path).save("b", SessionRequest("desktop"))
    Presets(path).remove("paraview", "a")
    kept = json.loads(path.read_text())
    assert kept["paraview"] == {"later": later, "odd": 7}
    assert kept["gedit"] == 5
    assert list(kept["desktop"]) == ["b"]
    with pytest.raises(VizdashError, match=r"the entry .gedit. is not a list of presets"):
        Presets(path).save("c", SessionRequest("gedit"))
    assert json.loads(path.read_text()) == kept


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is not JSON"),
        (b'{"paraview": {', "it is not JSON"),
        (b'{"paraview": {"\xff": 1}}', "it is not JSON"),
        (b"[" * 200_000, "it is not JSON"),
        (b"[]", "it does not list presets by app"),
        (b" " * (1 << 20) + b"{}", "File too large"),
    ],
    ids=["empty", "cut off", "no UTF-8", "deep", "a list", "large"],
)
def test_a_file_that_cannot_be_read_is_not_overwritten(
    tmp_path: Path, data: bytes, why: str
) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(data)
    presets = Presets(path)
    for change in (partial(presets.save, "a", REQUEST), partial(presets.remove, "paraview", "a")):
        with pytest.raises(VizdashError) as caught:
            change()
        message = f"saved sizes in {path}: {why} (fix or move the file: nothing was overwritten)"
        assert caught.value.line == message
    assert path.read_bytes() == data


def test_a_link_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.symlink_to("elsewhere.json")
    assert Presets(path).of("paraview") == {}
    with pytest.raises(VizdashError, match="it is not a regular file of yours"):
        Presets(path).save("a", REQUEST)
    assert path.is_symlink()


def test_two_at_once_keep_what_the_other_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, waits = tmp_path / "p.json", threading.Event()
    flock = fcntl.flock

    def save_other() -> None:
        Presets(path).save("other", REQUEST)
        waits.set()

    other = threading.Thread(target=save_other)

    def flock_and_signal(handle: int, how: int) -> None:
        if threading.current_thread() is other:
            waits.set()
        flock(handle, how)

    def write(to: Path, text: str) -> None:
        if threading.current_thread() is not other:
            other.start()
            assert waits.wait(30)
        write_whole(to, text)

    monkeypatch.setattr(fcntl, "flock", flock_and_signal)
    monkeypatch.setattr(module, "write_whole", write)
    Presets(path).save("one", REQUEST)
    other.join(30)
    assert Presets(path).of("paraview") == {"one": REQUEST, "other": REQUEST}


def test_a_file_system_without_locks_blocks_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    Presets(tmp_path / "p.json").save("a", REQUEST)
    assert Presets(tmp_path / "p.json").of("paraview") == {"a": REQUEST}
