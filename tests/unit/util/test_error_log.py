"""The log of unexpected errors: private, complete, bounded, and without secrets."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from vizdash.errors import Refused
from vizdash.util import error_log


@pytest.fixture(autouse=True)
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(error_log, "write_soon", error_log.write)
    return tmp_path / "vizdash" / "log" / "errors.log"


def _raised(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301
    except Exception as e:  # noqa: BLE001
        return e


def test_an_unexpected_error_is_one_line_and_its_traceback_is_logged(log_file: Path) -> None:
    old = os.umask(0)
    try:
        line = error_log.report(_raised(ValueError("odd\nthing")), "opening")
    finally:
        os.umask(old)
    assert line == f"opening: internal error: ValueError: odd thing (logged in {log_file})"
    logged = log_file.read_text()
    assert "opening" in logged and "Traceback" in logged and "in _raised" in logged
    assert stat.S_IMODE(log_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(log_file.parent.stat().st_mode) == 0o700


def test_what_the_system_refuses_is_named(log_file: Path) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x")
    line = error_log.report(_raised(error), "opening")
    assert line == f"opening: /tmp/x: No space left on device (logged in {log_file})"


def test_what_vizdash_reports_itself_is_no_surprise(log_file: Path) -> None:
    assert error_log.report(Refused("it", "no room", "wait"), "opening") == "it: no room (wait)"
    assert not log_file.exists()


def test_no_secret_is_logged(log_file: Path) -> None:
    error = ValueError("http://localhost/vnc.html#password=geheim&resize=remote")
    line = error_log.report(_raised(error), "opening")
    assert "geheim" not in line + log_file.read_text()


def test_it_stays_small(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_log, "_MOST", 4000)
    for n in range(40):
        error_log.report(_raised(ValueError(f"number {n} {'.' * 100}")), "trying")
    before = log_file.with_name("errors.log.1")
    assert log_file.stat().st_size <= 4000 and before.stat().st_size <= 4000
    assert "number 39" in log_file.read_text()
    assert sorted(os.listdir(log_file.parent)) == ["errors.log", "errors.log.1"]


def test_where_nothing_can_be_written_the_line_is_there_all_the_same(
    log_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "vizdash").write_text("a file where the folder should be")
    assert "ValueError: odd" in error_log.report(_raised(ValueError("odd")), "opening")


def test_no_link_is_followed(log_file: Path, tmp_path: Path) -> None:
    log_file.parent.mkdir(parents=True)
    log_file.symlink_to(tmp_path / "elsewhere")
    error_log.report(_raised(ValueError("odd")), "opening")
    assert not (tmp_path / "elsewhere").exists()
