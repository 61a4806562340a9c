"""The audit log: appended in whole lines, under the real user's name, read as untrusted input."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from vizdash.images import audit_log
from vizdash.images.audit_log import AuditEvent
from vizdash.util.files import account_name


def test_an_event_is_one_line_with_who_when_and_where(tmp_path: Path) -> None:
    log = tmp_path / "log" / "images.jsonl"
    took = audit_log.append_events(
        [AuditEvent("deploy", "gedit", version="1.0", node="viz-node001", detail="two\nlines")],
        str(log),
    )
    assert took == log
    (line,) = log.read_text().splitlines()
    values = json.loads(line)
    assert values["user"] == account_name(os.geteuid())
    assert values["at"] > 1_700_000_000
    assert values["host"] == os.uname().nodename
    assert "trusted" not in values
    assert log.stat().st_mode & 0o777 == 0o644
    (event,) = audit_log.read_events(str(log), own=tmp_path / "none").events
    assert (event.node, event.detail, event.trusted) == ("viz-node001", "two\nlines", True)


def test_who_may_not_write_the_sites_log_writes_their_own(tmp_path: Path) -> None:
    site = tmp_path / "site.jsonl"
    site.mkdir()  # stands for a file that can't be written, for root too
    own = tmp_path / "own.jsonl"
    assert audit_log.append_events([AuditEvent("build", "gedit")], str(site), own=own) == own
    assert own.stat().st_mode & 0o777 == 0o600
    found = audit_log.read_events(str(tmp_path / "none"), own=own)
    assert [e.trusted for e in found.events] == [False]


def test_the_real_user_behind_sudo() -> None:
    euid = os.geteuid()
    name = account_name(euid)
    assert audit_log.real_user({"SUDO_USER": "alice", "SUDO_UID": str(euid + 1)}) == "alice"
    assert audit_log.real_user({}) == name
    assert audit_log.real_user({"SUDO_USER": "alice"}) == name
    assert audit_log.real_user({"SUDO_USER": "alice", "SUDO_UID": str(euid)}) == name
    assert account_name(3_999_999) == "3999999"


def test_a_line_that_a_crash_cut_spoils_no_other(tmp_path: Path) -> None:
    log = tmp_path / "log"
    audit_log.append_events([AuditEvent("build", "gedit")], str(log))
    with log.open("a") as file:
        file.write('{"action": "dep')
    audit_log.append_events([AuditEvent("deploy", "gedit")], str(log))
    found = audit_log.read_events(str(log), own=tmp_path / "none")
    assert [e.action for e in found.events] == ["build", "deploy"]
    assert found.problems == (f"{log}: damaged lines: 1",)


@pytest.mark.parametrize(
    "line",
    ["[]", "7", "nonsense", "[" * 5000, "{}", '{"action":"x","app":"y","at":"z"}',
     '{"action":"x","app":3,"at":1}', '{"action":"x","app":"y","at":-1}',
     '{"action":"x","app":"y","at":true}', '{"action":"x","app":"y","at":1e99}'],
)  # fmt: skip
def test_damaged_lines_are_counted_not_shown(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log"
    log.write_text(line + '\n{"action":"prune","app":"y","at":5,"new_key":[1]}\n')
    found = audit_log.read_events(str(log), own=tmp_path / "none")
    assert [e.action for e in found.events] == ["prune"]
    assert len(found.problems) == 1


def test_a_log_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    audit_log.append_events([AuditEvent("build", "gedit")], str(log))
    log.chmod(0o666)
    found = audit_log.read_events(str(log), own=tmp_path / "none")
    assert "chmod 644" in found.problems[0]
    assert not found.events[0].trusted


def test_history_is_of_one_app_and_sorted(tmp_path: Path) -> None:
    log, own = tmp_path / "log", tmp_path / "own"
    audit_log.append_events(
        [AuditEvent("build", "gedit", at=30), AuditEvent("build", "other", at=10)], str(log)
    )
    audit_log.append_events([AuditEvent("build", "gedit", at=20)], str(own))
    assert [e.at for e in audit_log.read_events(str(log), own=own).events] == [10, 20, 30]
    assert [e.at for e in audit_log.read_events(str(log), own=own, app="gedit").events] == [20, 30]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("")
    link = tmp_path / "log"
    link.symlink_to(target)
    own = tmp_path / "own"
    assert audit_log.append_events([AuditEvent("build", "gedit")], str(link), own=own) == own
    assert target.read_text() == ""


def write_many(log: str, name: str) -> None:
    for _ in range(50):
        audit_log.append_events([AuditEvent("deploy", name, detail="x" * 3000)], log)


def test_writers_at_once_mix_no_lines(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(log, f"app{i}")) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = audit_log.read_events(log, own=tmp_path / "none")
    assert found.problems == ()
    assert len(found.events) == 150


def owned(tmp_path: Path, folder: int, file: int) -> audit_log.AuditHistory:
    """A log of that account's, in a folder of that one's."""
    log = tmp_path / f"{folder}-{file}" / "log"
    audit_log.append_events([AuditEvent("build", "gedit")], str(log))
    os.chown(log, file, file)
    os.chown(log.parent, folder, folder)
    return audit_log.read_events(str(log), own=tmp_path / "none")


@pytest.mark.skipif(os.geteuid() != 0, reason="files of other accounts are needed")
def test_a_log_is_trusted_where_folder_and_file_are_one_accounts(tmp_path: Path) -> None:
    for folder, file in ((5001, 5001), (0, 0), (0, 5001)):
        found = owned(tmp_path, folder, file)
        assert (found.problems, found.events[0].trusted) == ((), True)
    for folder, file in ((5001, 0), (5001, 5002)):
        found = owned(tmp_path, folder, file)
        assert "chown" in found.problems[0] and not found.events[0].trusted


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_log_in_a_folder_of_others_is_not_trusted(tmp_path: Path, mode: int) -> None:
    log = tmp_path / "log" / "images.jsonl"
    audit_log.append_events([AuditEvent("build", "gedit")], str(log))
    log.parent.chmod(mode)
    found = audit_log.read_events(str(log), own=tmp_path / "none")
    assert "chmod 755" in found.problems[0]
    assert not found.events[0].trusted
