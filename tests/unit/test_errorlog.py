"""The log of unexpected errors: private, whole, bounded, and without secrets."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from vizdash import errorlog
from vizdash.errors import Refused


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(errorlog, "write_soon", errorlog.write)
    return tmp_path / "vizdash" / "log" / "errors.log"


def _raised(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301
    except Exception as e:  # noqa: BLE001
        return e


def test_an_unexpected_error_is_one_line_and_its_traceback_is_logged(place: Path) -> None:
    old = os.umask(0)
    try:
        line = errorlog.report(_raised(ValueError("odd\nthing")), "opening")
    finally:
        os.umask(old)
    assert line == f"opening: internal error: ValueError: odd thing (logged in {place})"
    logged = place.read_text()
    assert "opening" in logged and "Traceback" in logged and "in _raised" in logged
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_what_the_system_refuses_is_named(place: Path) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x")
    line = errorlog.report(_raised(error), "opening")
    assert line == f"opening: /tmp/x: No space left on device (logged in {place})"


def test_what_vizdash_reports_itself_is_no_surprise(place: Path) -> None:
    assert errorlog.report(Refused("it", "no room", "wait"), "opening") == "it: no room (wait)"
    assert not place.exists()


def test_no_secret_is_logged(place: Path) -> None:
    error = ValueError("http://localhost/vnc.html#password=geheim&resize=remote")
    line = errorlog.report(_raised(error), "opening")
    assert "geheim" not in line + place.read_text()


def test_it_stays_small(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errorlog, "_MOST", 4000)
    for n in range(40):
        errorlog.report(_raised(ValueError(f"number {n} {'.' * 100}")), "trying")
    before = place.with_name("errors.log.1")
    assert place.stat().st_size <= 4000 and before.stat().st_size <= 4000
    assert "number 39" in place.read_text()
    assert sorted(os.listdir(place.parent)) == ["errors.log", "errors.log.1"]


def test_where_nothing_can_be_written_the_line_is_there_all_the_same(
    place: Path, tmp_path: Path
) -> None:
    (tmp_path / "vizdash").write_text("a file where the folder should be")
    assert "ValueError: odd" in errorlog.report(_raised(ValueError("odd")), "opening")


def test_no_link_is_followed(place: Path, tmp_path: Path) -> None:
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    errorlog.report(_raised(ValueError("odd")), "opening")
    assert not (tmp_path / "elsewhere").exists()
