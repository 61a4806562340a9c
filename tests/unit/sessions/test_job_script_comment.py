"""What a session writes into its job's comment, while others write messages into it (common.sh)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vizdash.util.assets import assets

#: slurmctld, whose comment of the job is the file `job`; scontrol(1) takes as long as `slow` says.
_SLURM = """
mkdir runtime F
runtime=$PWD/runtime F=$PWD/F
: >F/connection
SESSION_ID=abc12345 VIZDASH_APP=desktop VIZDASH_ENGINE=slurm job_id=7 node=n1
timeout() { shift; "$@"; }
squeue() { [ ! -e refuse ] && cat job; }
scontrol() { sleep "$(cat slow)"; printf '%s' "${3#Comment=}" >job.new && mv job.new job; }
show_text() { printf '%s\n' "$1" >>texts; }
status() { :; }
is_service() { false; }
# send TEXT: what `vizdash message` does.
put() { printf '%s note=%s' "$(sed 's/ note=.*//' job)" "$1" >job.new && mv job.new job; }
settle() { while [ -n "$(jobs -rp)" ]; do wait; done; }
echo 0 >slow; : >job
"""


def _run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    jobs = assets() / "jobs"
    text = (jobs / "common.sh").read_text()
    for name in ("cleanup.sh", "lease.sh", "limit.sh", "reserve.sh"):
        text = re.sub(rf"^source {name}.*$", f". {jobs}/{name}", text, flags=re.MULTILINE)
    warning = re.search(
        r"^show_warning\(\) \{\n.*?^\}\n", (jobs / "vnc.sh").read_text(), re.MULTILINE | re.DOTALL
    )
    assert warning is not None
    argv = ["bash", "-uc", "\n".join((text, warning[0], _SLURM, script))]
    env = {"PATH": "/usr/bin:/bin", "SESSION_ID": "abc12345", "HOME": str(folder)}
    return subprocess.run(
        argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def _texts(folder: Path) -> list[str]:
    return (folder / "texts").read_text().splitlines()


def test_a_message_put_there_a_moment_ago_is_kept_until_it_is_shown(tmp_path: Path) -> None:
    """The number of viewers changes between the message and its signal."""
    done = _run(
        tmp_path,
        """
        comment ready ready; settle
        put hello%20you
        viewers=1 since=5
        comment ready ready; settle
        cp job between
        show_warning; settle
        """,
    )
    # The end of a session kills who is named there, which may be another process by then.
    assert not (tmp_path / "runtime/sender").exists()
    assert " viewers=1 " in (tmp_path / "between").read_text(), done.stderr
    assert (tmp_path / "between").read_text().endswith(" note=hello%20you")
    assert _texts(tmp_path) == ["Message: hello you"]
    after = (tmp_path / "job").read_text()
    assert " viewers=1 " in after and "note=" not in after, "it is taken"


@pytest.mark.parametrize("times", [2, 3])
def test_the_same_message_may_come_again(tmp_path: Path, times: int) -> None:
    script = "comment ready ready; settle\n" + times * "put again; show_warning; settle\n"
    done = _run(tmp_path, script)
    assert _texts(tmp_path) == ["Message: again"] * times, done.stderr
    assert "note=" not in (tmp_path / "job").read_text()


def test_a_message_is_taken_while_its_comment_is_being_sent(tmp_path: Path) -> None:
    """A comment that was begun before the message was shown carries it over, and goes again."""
    done = _run(
        tmp_path,
        """
        comment ready ready; settle
        put hello
        echo 1 >slow
        comment ready ready
        sleep 0.5
        show_warning; settle
        """,
    )
    assert _texts(tmp_path) == ["Message: hello"], done.stderr
    assert "note=" not in (tmp_path / "job").read_text()


def test_without_an_answer_of_slurm_the_text_names_both(tmp_path: Path) -> None:
    done = _run(tmp_path, "touch refuse; show_warning; settle")
    (text,) = _texts(tmp_path)
    assert text.startswith("The time limit is near, or a message came"), done.stderr


def test_a_comment_of_the_sites_own_is_kept(tmp_path: Path) -> None:
    _run(tmp_path, "printf billing:12 >job; comment ready ready; settle")
    assert (tmp_path / "job").read_text() == "billing:12"
