"""Saved sizes: what was saved comes back, bad names and bad files do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizdash.errors import UsageError, VizdashError
from vizdash.model import Resources, SessionRequest
from vizdash.presets import Presets

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


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VizdashError, match=r"p\.json: File exists"):
        Presets(tmp_path / "file" / "p.json").save("a", REQUEST)
