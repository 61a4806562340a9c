"""More doors that are shut for other users: names in /tmp, memory in core dumps, tunnels that are
kept, and every place where a password could be read. Each is opened by a patch of the test's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab
from tests.lab.mounts import replaced
from tests.lab.test_isolation import connection, password_places, readable_by_others
from tests.lab.verbs import run_vizdash, start_session
from tests.waiting import wait_until

NODE = "viz-node002"
_ASSETS = "assets/jobs"


@contextlib.contextmanager
def patched_job(lab: Lab, name: str, before: str, after: str) -> Iterator[None]:
    """Another text in a part of the job script that the login host's vizdash submits."""
    path = lab.login.run(f"ls /opt/vizdash/lib/python3*/site-packages/vizdash/{_ASSETS}/{name}")
    file = path.stdout.strip()
    text = (lab.login.root / file.lstrip("/")).read_text()
    assert text.count(before) == 1, f"{before!r} in {file}"
    with replaced([lab.login], file, text.replace(before, after)):
        yield


# ---------------------------------------------------------------- names in /tmp

#: bob has made a folder, open for all, at the name that a session of alice's would take if it were
#: predictable, and a link at another.
_FOLDER, _LINK, _TARGET = "/tmp/vizdash-alice", "/tmp/vizdash-alice.link", "/tmp/of-bob"
_SQUATTED = (
    f"umask 0; mkdir {_FOLDER} {_TARGET}; chmod 777 {_FOLDER} {_TARGET}; ln -s {_TARGET} {_LINK}"
)
_MKTEMP = 'runtime=$(mktemp -d "$1/vizdash-$SESSION_ID.XXXXXXXX" 2>&1)'


@pytest.mark.parametrize(("name", "place"), [(_FOLDER, _FOLDER), (_LINK, _TARGET)])
def test_a_name_that_another_user_made(lab: Lab, site: None, name: str, place: str) -> None:
    node = lab.hosts[NODE]

    def bob_has() -> str:
        return node.run(f"find {place} -mindepth 1; true", user="bob").stdout

    node.run(_SQUATTED, user="bob")
    try:
        start_session(lab, "plain", "--node", NODE)
        assert bob_has() == ""
        lab.settle()
        # With a name that can be known beforehand, the files of the session are in bob's folder.
        with patched_job(lab, "common.sh", _MKTEMP, f"runtime=$(mkdir -p {name} && echo {name})"):
            run_vizdash(lab, "start", "plain", "--node", NODE)
            wait_until(lambda: bob_has() != "", "the session's files in bob's folder")
    finally:
        lab.settle()
        node.run(f"rm -rf {_FOLDER} {_TARGET} {_LINK}")


# ---------------------------------------------------------------- core dumps

#: Prints PID, name and coredump_filter (core(5)) of the processes of a user whose memory holds a
#: text, as the writer of a core dump would find it. The text is on stdin.
_HOLDERS = r"""
import os, re, sys
user, text = int(sys.argv[1]), sys.stdin.buffer.read()
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat(f"/proc/{pid}").st_uid != user:
            continue
        parts = []
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                if found:
                    start, end = (int(part, 16) for part in found.groups())
                    memory.seek(start)
                    parts.append(memory.read(end - start))
        if any(text in part for part in parts):
            name = open(f"/proc/{pid}/comm").read().strip()
            print(pid, name, int(open(f"/proc/{pid}/coredump_filter").read(), 16))
    except OSError:
        continue
"""


def in_cores(node: Host, text: str, user: str = "alice") -> tuple[set[str], set[str]]:
    """The names of a user's processes that hold a text in their memory, and of those whose core
    dumps would, too.
    """
    uid = node.run(["id", "-u", user]).stdout.strip()
    rows = node.run(["python3", "-c", _HOLDERS, uid], input=text).stdout.splitlines()
    cells = [row.split() for row in rows]
    return {name for _, name, _ in cells}, {name for _, name, kept in cells if kept != "0"}


def filters(node: Host, *names: str) -> set[int]:
    """The coredump_filter of alice's processes with these names."""
    found = f"$(pgrep -x -u alice '{'|'.join(names)}')"
    script = f"for pid in {found}; do cat /proc/$pid/coredump_filter 2>/dev/null; done; true"
    return {int(line, 16) for line in node.run(script).stdout.split()}


def test_core_dumps(lab: Lab, site: None) -> None:
    node, own = lab.hosts[NODE], ("slurm_script", "Xvnc")
    session = start_session(lab, "plain", "--node", NODE)
    assert filters(node, *own) == {0}
    # The app's own core dumps are as they always are.
    wait_until(lambda: filters(node, "openbox") == {0x33}, "the app's filter")
    _, dumped = in_cores(node, connection(lab, session)["PASSWORD"])
    assert dumped == set()
    lab.settle()
    line = "{ echo 0 >/proc/self/coredump_filter; } 2>/dev/null"
    with patched_job(lab, "environment.sh", line, ":"):
        start_session(lab, "plain", "--node", NODE)
    assert 0 not in filters(node, *own)


_HOLD = """
import sys
from vizdash.cli import program
if sys.argv[1:] == ["open"]:
    program._leave_memory_out_of_cores = lambda: None
typed = []
program._run = lambda **_: typed.append(input()) or print("typed", flush=True) or sys.stdin.read()
program.main()
"""


def test_core_dumps_of_vizdash(lab: Lab) -> None:
    """What a user types at a login is in vizdash's memory."""
    for words, expected in (([], False), (["open"], True)):
        argv = ["/opt/vizdash/bin/python", "-c", _HOLD, *words]
        with lab.login.popen(argv, user="alice") as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("typed-secret-4711\n")
            process.stdin.flush()
            process.stdout.readline()
            try:
                holders, dumped = in_cores(lab.login, "typed-secret-4711")
            finally:
                process.communicate(timeout=60)
        assert holders
        assert bool(dumped) is expected


# ---------------------------------------------------------------- tunnels that are kept


def test_the_records_of_kept_tunnels(lab: Lab, site: None) -> None:
    """Nobody else reads them, and what others put there is not believed."""
    login = lab.login
    session = start_session(lab, "plain", "--node", NODE)
    password = connection(lab, session)["PASSWORD"]
    folder = "/home/alice/.local/state/vizdash/tunnels"

    def records() -> list[str]:
        return login.run(f"ls {folder}/*.json; true").stdout.split()

    process = login.popen(["vizdash", "open", session["id"], "--print"], user="alice")
    try:
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: len(records()) == 1, "the record", seen=lambda: str(records()))
        (record,) = records()
        text = login.run(["cat", record]).stdout
        assert password not in text
        assert login.run(["cat", record], user="bob", check=False).stdout == ""
        parts = ("", "/.local", "/.local/state", "/.local/state/vizdash")
        login.run(["chmod", "o+x", *(f"/home/alice{part}" for part in parts)])
        login.run(["chmod", "777", folder])
        assert login.run(["cat", record], user="bob", check=False).stdout == "", "the folders alone"
        # A record of bob's names a tunnel of alice's; she would signal the process that it names.
        planted = json.loads(text) | {"id": "0" * 16, "session": "ffffffff"}
        login.run(["tee", f"{folder}/{'0' * 16}.json"], user="bob", input=json.dumps(planted))

        def list_tunnels(*patch: str) -> set[str]:
            argv = ["/opt/vizdash/bin/python", "-c", _TUNNELS, folder, *patch]
            return set(login.run(argv, user="alice").stdout.split())

        assert list_tunnels() == {session["id"]}
        assert list_tunnels("open") == {session["id"], "ffffffff"}
        login.run(["chmod", "644", record])
        assert login.run(["cat", record], user="bob").stdout == text
    finally:
        process.terminate()
        process.communicate(timeout=120)
        login.run(f"rm -rf {folder}; chmod 700 /home/alice /home/alice/.local/state")


_TUNNELS = """
import sys
from pathlib import Path
from vizdash.sessions import tunnel_records
if sys.argv[2:] == ["open"]:
    tunnel_records.read_own = lambda file: file.read_text()
print(*(record.session for record in tunnel_records.read_tunnels(Path(sys.argv[1]))))
"""


# ---------------------------------------------------------------- places for a password


def test_the_search_for_a_password_finds_it_everywhere(lab: Lab, site: None) -> None:
    """tests/lab/test_isolation.py searches these places and finds none: it would."""
    session = start_session(lab, "plain", "--node", NODE)
    node, password = lab.hosts[NODE], connection(lab, session)["PASSWORD"]
    assert not [name for name, text in password_places(lab, session).items() if password in text]
    job = session["job_id"]
    lab.login.run(["scontrol", "update", f"JobId={job}", f"Comment={password}"])
    folder = lab.login.root / f"home/alice/.local/state/vizdash/sessions/{session['id']}"
    with (folder / "job.log").open("a") as log:
        log.write(f"{password}\n")
    waiting = ["sh", "-c", "read line", "sh", password]
    env = ["env", f"PASSWORD={password}", "sh", "-c", "read line"]
    with contextlib.ExitStack() as stack:
        for host in (node, lab.login):
            for argv in (waiting, env):
                process = stack.enter_context(host.popen(argv, user="alice"))
                stack.callback(process.communicate, input="\n", timeout=60)
        places = {"processes on the node", "processes on login", "squeue", "scontrol", "the log"}
        found: set[str] = set()

        def is_found() -> bool:
            texts = password_places(lab, session)
            found.update(name for name in places if password in texts[name])
            return found == places

        wait_until(is_found, "password found in every place", seen=lambda: str(found))
        assert password in readable_by_others(node)
        assert password in readable_by_others(lab.login)
