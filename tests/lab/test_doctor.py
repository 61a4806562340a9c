"""``vizdash doctor`` names the broken part and its fix: one case for each broken set-up."""

from __future__ import annotations

import json
import re
import stat
import tarfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.lab import Lab
from tests.lab.mounts import filled
from tests.lab.test_failures import hidden
from tests.lab.test_slurm_down import no_munge
from tests.lab.verbs import list_sessions, open_session, run_vizdash, start_session

#: The node that is broken; the first one lacks gedit.
NODE = "viz-node002"
LACKS_GEDIT = "viz-node001"
GPU_NODE = "viz-node003"
IMAGES = "/opt/apptainers/apps/desktop"
CONFIG = "/home/alice/doctor.yaml"

#: Who is examined for an image; the others' app runs on the host, which takes less time.
DESKTOP = ("--app", "desktop", "--node", NODE)

#: An app that asks for a GPU.
DRAWING = """\
apps:
  drawing:
    runtime: host
    host_command: exec openbox
    resources: {cores: 1, memory: 1G, gpus: 1, time: 1h}
"""

Break = Callable[[Lab], AbstractContextManager[None]]


def examine(
    lab: Lab,
    *words: str,
    user: str = "alice",
    check: bool = False,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Doctor's findings by check; ``code`` is its exit code, ``line`` its last line."""
    done = run_vizdash(lab, "doctor", "--json", *words, user=user, check=check, env=env)
    answer = json.loads(done.stdout)
    found = {row["what"]: row for row in answer["findings"]}
    last = (done.stderr.splitlines() or [""])[-1]
    return {**found, "broken": answer["broken"], "code": done.returncode, "line": last}


# ---------------------------------------------------------------- ways to break it


@contextmanager
def healthy(lab: Lab) -> Iterator[None]:
    yield


def settings(text: str) -> Break:
    """With this configuration of alice's own in CONFIG."""

    @contextmanager
    def broken(lab: Lab) -> Iterator[None]:
        lab.login.run(["tee", CONFIG], user="alice", input=textwrap.dedent(text))
        try:
            yield
        finally:
            lab.login.run(["rm", CONFIG])

    return broken


def scripted(do: str, undo: str, host: str = NODE) -> Break:
    """Broken by a script on a host, restored by another."""

    @contextmanager
    def broken(lab: Lab) -> Iterator[None]:
        lab.hosts[host].run(do)
        try:
            yield
        finally:
            lab.hosts[host].run(undo)
            lab.wait_idle()

    return broken


@contextmanager
def unknown_host_keys(lab: Lab) -> Iterator[None]:
    known = lab.login.root / "etc/ssh/ssh_known_hosts"
    before = known.read_text()
    known.write_text("")
    try:
        yield
    finally:
        known.write_text(before)


def both(first: Break, second: Break) -> Break:
    """Two things at once."""

    @contextmanager
    def broken(lab: Lab) -> Iterator[None]:
        with first(lab), second(lab):
            yield

    return broken


def without(path: str, host: str = NODE) -> Break:
    """Without a program or file."""

    def broken(lab: Lab) -> AbstractContextManager[None]:
        return hidden(lab.hosts[host], path)

    return broken


@contextmanager
def full_home(lab: Lab) -> Iterator[None]:
    with filled(lab.login, "/home/alice"):
        yield


@contextmanager
def full_node(lab: Lab) -> Iterator[None]:
    with filled(lab.hosts[NODE], "/tmp", "/var/tmp", "/dev/shm"):
        yield


@contextmanager
def munge_down(lab: Lab) -> Iterator[None]:
    with no_munge(lab):
        yield


read_only_home = scripted(
    "mount --bind /home/alice /home/alice && mount -o remount,bind,ro /home/alice",
    "umount --lazy /home/alice",
)
truncated = scripted(
    f"cd {IMAGES} && ls -l && mv desktop-1.0.sif whole && head -c 9000000 whole >desktop-1.0.sif",
    f"cd {IMAGES} && mv -f whole desktop-1.0.sif",
)
unreadable = scripted(f"chmod 600 {IMAGES}/desktop-1.0.sif", f"chmod 644 {IMAGES}/desktop-1.0.sif")
drained = scripted(
    f"scontrol update NodeName={NODE} State=DRAIN Reason=fan",
    f"scontrol update NodeName={NODE} State=RESUME",
    "login",
)
no_slurmd = scripted(
    # Slurm itself sets it down after SlurmdTimeout. Set down by hand, it would be resumed by a
    # registration that is on its way (ReturnToService).
    "pkill -x slurmd; while pgrep -x slurmd; do sleep 0.1; done; "
    f"until scontrol show node {NODE} | grep -q State=DOWN; do sleep 0.5; done",
    "slurmd",
)
no_controller = scripted(
    "pkill -x slurmctld; while pgrep -x slurmctld; do sleep 0.1; done", "slurmctld", "login"
)
partition_down = scripted(
    "scontrol update PartitionName=viz State=DOWN",
    "scontrol update PartitionName=viz State=UP",
    "login",
)
clock_ahead = scripted(
    'printf \'#!/bin/sh\\nexec /usr/bin/date -d "+4 minutes" "$@"\\n\' >/usr/local/bin/date; '
    "chmod 755 /usr/local/bin/date",
    "rm /usr/local/bin/date",
)
#: As where user.max_user_namespaces is 0, which would count for the whole machine.
no_namespaces = scripted(
    "printf '#!/bin/sh\\nexit 1\\n' >/usr/local/bin/unshare; "
    "mv /usr/bin/apptainer /usr/bin/apptainer.real; "
    'printf \'#!/bin/sh\\n[ "$1" != --version ] || exec /usr/bin/apptainer.real "$@"\\n'
    "echo FATAL: container creation failed >&2; exit 255\\n' >/usr/bin/apptainer; "
    "chmod 755 /usr/local/bin/unshare /usr/bin/apptainer",
    "mv /usr/bin/apptainer.real /usr/bin/apptainer; rm /usr/local/bin/unshare",
)
#: As after an update of the driver without a restart.
driver_mismatch = scripted(
    "printf '#!/bin/sh\\necho Failed to initialize NVML: Driver/library version mismatch\\n"
    "exit 18\\n' >/usr/local/bin/nvidia-smi; chmod 755 /usr/local/bin/nvidia-smi",
    "rm /usr/local/bin/nvidia-smi",
    GPU_NODE,
)
no_key = scripted(
    "mount --bind /dev/null /home/alice/.ssh/authorized_keys",
    "umount --lazy /home/alice/.ssh/authorized_keys",
)
own_folder_on_login = scripted("install -d -o alice /srv/alice", "rm -r /srv/alice", "login")
no_association = scripted(
    "sacctmgr -i delete user name=alice",
    "sacctmgr -i add user alice account=science,engineering defaultaccount=science",
    "login",
)


@dataclass(frozen=True)
class Setup:
    """A broken set-up: how it is made, what doctor is asked, the link that is named, and words of
    cause and fix.
    """

    breaks: Break
    link: str
    cause: str
    fix: str
    words: tuple[str, ...] = ("--app", "plain", "--node", NODE)
    code: int = 1
    env: Mapping[str, str] | None = None


ROWS = {
    "a key of the config is misspelt": Setup(
        settings("clusters: {lab: {engnie: slurm}}\n"),
        "config", f"{CONFIG}:1: clusters.lab.engnie: no such key", "did you mean 'engine'?",
        ("--config", CONFIG), 2,
    ),
    "the config names a partition that is not there": Setup(
        settings("clusters: {lab: {engine: slurm, partition: gfx}}\n"),
        "partition", "there is no partition gfx", "viz, gated, closed", ("--config", CONFIG),
    ),
    "the config names a state_dir that is not on the node": Setup(
        both(
            settings("clusters: {lab: {engine: slurm, state_dir: /srv/%u/vizdash}}\n"),
            own_folder_on_login,
        ),
        "session folder on node", f"does not exist on {NODE}", "state_dir",
        ("--config", CONFIG, "--app", "plain", "--node", NODE),
    ),
    "scontrol is not on PATH": Setup(
        without("/usr/bin/scontrol", "login"),
        "scontrol", "scontrol is not on PATH", "load its module",
    ),
    "the login host is unreachable": Setup(
        healthy, "login", "login: it refuses the connection", "is sshd running there",
        ("--host", "alice@login:2999"),
    ),
    "munge is down": Setup(munge_down, "engine", "munge does not run on this host", "start munged"),
    "the controller is down": Setup(
        no_controller, "engine", "slurmctld does not answer", "is Slurm running"
    ),
    "the partition is down": Setup(
        partition_down, "partition", "partition viz is down", "operators"
    ),
    "the user has no association": Setup(
        no_association, "submission", "account", ""
    ),
    "the node is drained": Setup(drained, "node", f"{NODE} is drained: fan", "vizdash resume"),
    "slurmd is dead": Setup(no_slurmd, "node", f"{NODE} is down", "another --node"),
    "the node's host key is unknown": Setup(
        unknown_host_keys, "ssh to nodes", "its host key is in neither", f"run `ssh {NODE}` here"
    ),
    "the app's image is not installed": Setup(
        healthy,
        "image", f"{LACKS_GEDIT} has no image", f"vizdash deploy gedit --node {LACKS_GEDIT}",
        ("--app", "gedit", "--node", LACKS_GEDIT),
    ),
    "the image is truncated": Setup(
        truncated, "image on node", "the image does not run", "vizdash deploy desktop", DESKTOP
    ),
    "the image is unreadable": Setup(
        unreadable, "image on node", "can't be read by alice", "vizdash deploy desktop", DESKTOP
    ),
    "the home is full": Setup(full_home, "session folder", "No space left on device", "home"),
    "the home is read-only on the node": Setup(
        read_only_home, "home on node", "is not writable", "state_dir"
    ),
    "nothing of the node's takes files": Setup(
        full_node, "runtime folder", "No space left on device", "/tmp"
    ),
    "Apptainer is missing": Setup(
        without("/usr/bin/apptainer"), "runtime",
        f"neither apptainer nor singularity is installed on {NODE}", "install Apptainer",
        DESKTOP,
    ),
    "the node has no user namespaces": Setup(
        no_namespaces, "runtime", "no user namespaces", "user.max_user_namespaces", DESKTOP,
    ),
    "websockify is missing": Setup(
        without("/usr/bin/websockify"), "desktop programs", "websockify is not installed",
        "package websockify",
    ),
    "noVNC is missing": Setup(
        without("/usr/share/novnc"), "desktop programs", "noVNC is not installed", "package novnc",
    ),
    "the node takes no ssh, and there is no srun": Setup(
        both(no_key, without("/usr/bin/srun", "login")),
        "ssh to nodes", f"{NODE} refuses your SSH", "put srun on your PATH",
    ),
    "the GPU's driver does not work": Setup(
        both(settings(DRAWING), driver_mismatch),
        "GPU", "nvidia-smi: Failed to initialize NVML: Driver/library", "ask your operators",
        ("--config", CONFIG, "--app", "drawing", "--node", GPU_NODE),
    ),
    "the browser that the user has set is not there": Setup(
        healthy, "browser", "firefox-old: no such program", "unset it",
        env={"BROWSER": "firefox-old"},
    ),
    "the clock of the node is minutes off": Setup(
        clock_ahead, "clock", f"the clock of {NODE} is", "NTP"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_broken_link_is_named_with_its_fix(
    accounts: Lab, accounts_site: None, name: str
) -> None:
    row = ROWS[name]
    with row.breaks(accounts):
        found = examine(accounts, *row.words, env=row.env)
    assert found["broken"] == row.link, found
    broken = found[row.link]
    assert (broken["ok"], broken["status"]) == (False, "broken")
    assert row.cause in broken["found"], broken
    assert row.fix in broken["fix"], broken
    assert found["code"] == row.code
    assert row.cause in found["line"]


def test_a_real_session_and_no_password_in_any_log(accounts: Lab, accounts_site: None) -> None:
    """--deep starts one and takes it down; what is logged of it, and of another, is no secret."""
    session = start_session(accounts, "plain", "--node", NODE)
    home = accounts.login.root / "home/alice"
    text = (home / f".local/state/vizdash/sessions/{session['id']}/connection").read_text()
    pairs = dict(line.partition("=")[::2] for line in text.splitlines())
    secrets = {pairs["PASSWORD"], pairs["VIEW_PASSWORD"]}
    assert all(len(secret) == 8 for secret in secrets)
    with open_session(accounts, session["id"]) as url:
        assert quote(pairs["PASSWORD"]) in url
    typed = "mysql-pgeheim"
    assert run_vizdash(accounts, "ssh", session["id"], "echo", typed).stdout == f"{typed}\n"
    secrets.add(typed)
    command = ["vizdash", "doctor", "--app", "plain", "--node", NODE, "--deep"]
    command += ["--bundle", "report.tar.gz"]
    done = accounts.login.run(command, user="alice", env={"VIZDASH_DEBUG": "1"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for program in ("sbatch", "squeue", "scontrol", "scancel", "ssh"):
        assert re.search(rf"^ok +{program} +/usr/bin/{program} \(", done.stdout, re.MULTILINE)
    shown = rf"^ok +session +ready on {NODE} after .* s, reached by tunnel, stopped"
    assert re.search(shown, done.stdout, re.MULTILINE), done.stdout
    assert [s["id"] for s in list_sessions(accounts) if s["state"] != "ended"] == [session["id"]]
    run_vizdash(accounts, "stop", session["id"])
    logs = {path.name: path for path in (home / ".local/state/vizdash/log").iterdir()}
    output = {name: path.read_text() for name, path in logs.items()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in logs.values())
    called = ("vizdash start plain", "vizdash open", f"vizdash ssh {session['id']}")
    for word in (*called, "sbatch", "scancel", "srun", "ssh"):
        assert word in output["commands.log"]
    assert " s exit 0: sbatch" in done.stderr  # live
    with tarfile.open(home / "report.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            output[member.name] = file.read().decode()
    assert "sbatch" in output["vizdash-report/commands.log"]
    for name, words in {**output, "live": done.stderr, "shown": done.stdout}.items():
        assert not [secret for secret in secrets if secret in words], name
