"""Images are built by an ordinary user, on any build host, and never published half-made."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab, recipe
from tests.lab.verbs import run_vizdash
from vizdash.images import sif

NODE = "viz-node002"
PLACES = ("here", NODE, "job")
#: A root file system of one megabyte, so that a build takes a second.
TREE = """
mkdir -p tree/bin tree/etc tree/lib64 tree/lib/x86_64-linux-gnu defs
cp -L /bin/true /bin/sh /bin/echo /bin/cat /bin/sleep /usr/bin/setsid tree/bin/
cp -L /lib/x86_64-linux-gnu/libc.so.6 tree/lib/x86_64-linux-gnu/
cp -L /lib64/ld-linux-x86-64.so.2 tree/lib64/
apptainer build base.sif tree
"""
CONFIG = """
clusters:
  lab:
    engine: {engine}
    image_store: /home/alice/work/store
    build:
      definitions: /home/alice/work/defs
      arguments: {{bootstrap: localimage, base: {base}}}
      options: [--mksquashfs-args, "SQUASHFS"]
      resources: {{cores: 1, memory: 500M, time: 10m}}
""".replace("SQUASHFS", recipe.SQUASHFS)
DEFINITION = """Bootstrap: {{ bootstrap }}
From: {{ base }}

%arguments
    bootstrap=docker
    base=debian:13-slim
    version=1.0

%labels
    Version {{ version }}

%post
    echo hello from post
"""
LINGER = "    setsid sleep 7301 &\n    (sleep 7302 &)\n    echo it waits\n    sleep 7303\n"


def configure(host: Host, *, engine: str, base: str, script: str) -> None:
    host.run(f"rm -rf work && mkdir work && cd work && mkdir defs && {{ {script} }}", user="alice")
    host.run("mkdir -p ~/.config/vizdash && cat >~/.config/vizdash/config.yaml", user="alice",
             input=CONFIG.format(engine=engine, base=base))  # fmt: skip


@contextlib.contextmanager
def workshop_of_alice(lab: Lab) -> Iterator[Lab]:
    """alice's folder on the shared home: a tiny base, and a definition file for gedit."""
    configure(lab.login, engine="slurm", base="/home/alice/work/base.sif", script=TREE)
    define(lab)
    yield lab
    home = "work .config/vizdash .local/state/vizdash/builds .local/state/vizdash/images.jsonl"
    lab.login.run(f"rm -rf {home}", user="alice")


@pytest.fixture
def workshop(lab: Lab) -> Iterator[Lab]:
    """alice's folder with a definition file for gedit."""
    with workshop_of_alice(lab):
        yield lab


def define(lab: Lab, post: str = "") -> None:
    lab.login.run(["tee", "/home/alice/work/defs/gedit.def"], user="alice", input=DEFINITION + post)


def store(host: Host) -> list[str]:
    """All that lies in the store, hidden folders too."""
    done = host.run("cd work/store/gedit && find . -mindepth 1 | sort", user="alice", check=False)
    return done.stdout.split()


def wait_clean(lab: Lab) -> None:
    """Nothing of a build is left on any host: no process, no file, no job."""

    def left(host: Host) -> list[str]:
        files = host.run("ls -A /tmp | grep vizdash; true").stdout.splitlines()
        running = host.processes("alice").splitlines()
        return files + [line for line in running if re.search("sleep|apptainer|starter", line)]

    deadline = time.monotonic() + 180
    while True:
        found = {host.name: left(host) for host in (lab.login, *lab.nodes)}
        jobs = lab.login.run(["squeue", "-h", "-n", "vizdash-build-gedit"]).stdout
        if not any(found.values()) and not jobs:
            return
        assert time.monotonic() < deadline, (found, jobs)
        time.sleep(0.3)


def begin(lab: Lab, where: str) -> subprocess.Popen[str]:
    """A build that has come to the middle of its %post."""
    words = ["vizdash", "build", "gedit", "--version", "2.0", "--where", where]
    process = lab.login.popen(words, user="alice")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("+ sleep 7303"):
            return process
    raise AssertionError("".join(lines))


def send(lab: Lab, signal: str) -> None:
    """Signal the program itself: what we hold is nsenter. A child of it has its name until
    execve(2), so it is the oldest.
    """
    pids = lab.login.run("pgrep -o -u alice -f '[/]vizdash build'", user="alice").stdout.split()
    assert len(pids) == 1, pids
    lab.login.run(["kill", f"-{signal}", *pids], user="alice")


def close(process: subprocess.Popen[str]) -> str:
    _, output = process.communicate(timeout=180)
    return output


@pytest.mark.parametrize("where", PLACES)
def test_an_ordinary_user_builds(workshop: Lab, where: str) -> None:
    done = run_vizdash(workshop, "build", "gedit", "--version", "1.1", "--where", where, "--json")
    built = json.loads(done.stdout)["image"]
    assert built["path"] == "/home/alice/work/store/gedit/gedit-1.1.sif"
    assert (built["version"], built["built_by"], built["arch"]) == ("1.1", "alice", "amd64")
    on = {"here": "login", NODE: NODE}.get(where)
    assert built["built_on"] == on or (where == "job" and built["built_on"] in recipe.NODES)
    assert "hello from post" in done.stderr
    path = built["path"]
    info = sif.read(workshop.login.root / path[1:])
    output = workshop.login.run(["sha256sum", path]).stdout.split()[0]
    assert built["digest"] == output == sif.digest(workshop.login.root / path[1:])
    text = (workshop.login.root / "home/alice/work/defs/gedit.def").read_bytes()
    assert info.labels["vizdash.definition.sha256"] == sha256(text)
    assert info.labels["vizdash.built-by"] == "alice"
    seen = workshop.login.run(["apptainer", "inspect", "--json", path], user="alice").stdout
    assert json.loads(seen)["data"]["attributes"]["labels"] == info.labels
    ran = workshop.login.run(["apptainer", "-q", "exec", path, "/bin/echo", "works"], user="alice")
    assert ran.stdout.strip() == "works"
    assert store(workshop.login) == ["./gedit-1.1.json", "./gedit-1.1.sif"]
    again = run_vizdash(workshop, "build", "gedit", "--version", "1.1", check=False)
    assert again.returncode == 1 and "--version 1.2, or --replace" in again.stderr
    log = run_vizdash(workshop, "logs", "--build", "gedit").stdout
    assert "+ echo hello from post\nhello from post\n" in log
    wait_clean(workshop)


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("where", PLACES)
def test_a_failing_post_names_its_command(workshop: Lab, where: str) -> None:
    define(workshop, "    cat /no/such/licence\n    echo never\n")
    done = run_vizdash(workshop, "build", "gedit", "--where", where, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "vizdash: gedit 1.0 was not built: %post failed at: cat /no/such/licence "
        "(cat: /no/such/licence: No such file or directory)"
    )
    assert store(workshop.login) == []
    log = run_vizdash(workshop, "logs", "--build", "gedit")
    assert "cat: /no/such/licence: No such file or directory" in log.stdout
    assert "failed" in log.stderr
    wait_clean(workshop)


@pytest.mark.parametrize("where", PLACES)
def test_cancelling_ends_all_of_it(workshop: Lab, where: str) -> None:
    define(workshop, LINGER)
    process = begin(workshop, where)
    send(workshop, "INT")
    output = close(process)
    assert process.returncode == 130, output
    assert "all processes of the build have been stopped" in output
    assert store(workshop.login) == []
    wait_clean(workshop)


@pytest.mark.parametrize("where", PLACES)
def test_a_killed_vizdash_leaves_no_image(workshop: Lab, where: str) -> None:
    define(workshop, LINGER)
    process = begin(workshop, where)
    send(workshop, "KILL")
    close(process)
    assert not any(name.endswith(".sif") and "/." not in name for name in store(workshop.login))
    wait_clean(workshop)
    log = run_vizdash(workshop, "logs", "--build", "gedit")
    assert "interrupted" in log.stderr and "it waits" in log.stdout
    define(workshop)
    run_vizdash(workshop, "build", "gedit", "--version", "2.0", "--where", where)
    assert store(workshop.login) == ["./gedit-2.0.json", "./gedit-2.0.sif"]
    events = workshop.login.run(
        ["cat", ".local/state/vizdash/images.jsonl"], user="alice"
    ).stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in events][-2:] == ["interrupted", "ok"]


def test_a_build_that_cannot_begin_gives_the_reason(workshop: Lab) -> None:
    done = run_vizdash(workshop, "build", "gedit", "--where", "nowhere.example", check=False)
    assert done.returncode == 1
    assert "check the host name" in done.stderr
    done = run_vizdash(workshop, "build", "gedit", "--arg", "base=/no/such.sif", check=False)
    assert done.returncode == 2
    assert "no such file" in done.stderr
    done = run_vizdash(workshop, "build", "gedit", "--arg", "colour=red", check=False)
    assert done.returncode == 1
    assert "the definition file has no such argument" in done.stderr


def test_one_copy_on_a_shared_file_system(workshop: Lab) -> None:
    """Built and deployed by one who needs no rights: every node sees the one copy."""
    apps = "/home/alice/work/apps"
    shared = f"    image_root: {apps}\n    deploy: {{method: shared, sudo: never}}\n"
    workshop.login.run(["mkdir", apps], user="alice")
    workshop.login.run(["tee", "-a", ".config/vizdash/config.yaml"], user="alice", input=shared)
    for version in ("1.1", "1.2"):
        run_vizdash(workshop, "build", "gedit", "--version", version)
        done = run_vizdash(workshop, "deploy", "gedit", "--json")
        (row,) = json.loads(done.stdout)["deploy"]["nodes"]
        assert (row["outcome"], row["copied"], row["switched"]) == ("done", True, True)
        assert jobs_on_nodes(workshop, version) == set(recipe.NODES)
    run_vizdash(workshop, "rollback", "gedit")
    assert jobs_on_nodes(workshop, "1.1") == set(recipe.NODES)
    kept = run_vizdash(workshop, "prune", "gedit", "--keep", "1", "--yes")
    assert "gedit 1.1 stays (it is current) on the shared image root" in kept.stderr
    run_vizdash(workshop, "deploy", "gedit")
    # A user who cannot see other users' open files on the nodes removes nothing.
    blind = run_vizdash(workshop, "prune", "gedit", "--keep", "1", "--yes", check=False)
    assert blind.returncode == 1
    assert "can't see other users' open files there, so nothing is removed" in blind.stderr
    left = workshop.login.run(["ls", f"{apps}/gedit"]).stdout.split()
    images = {name for name in left if name.endswith(".sif")}
    assert images == {"gedit-1.1.sif", "gedit-1.2.sif", "gedit.sif"}


def jobs_on_nodes(lab: Lab, version: str) -> set[str]:
    """The nodes whose current gedit is this version."""
    rows = json.loads(run_vizdash(lab, "images", "gedit", "--json").stdout)["images"]
    return {r["node"] for r in rows if (r["version"], r["state"]) == (version, "current")}


def test_only_signed_images_where_a_site_requires_them(workshop: Lab) -> None:
    extra = (
        "    image_root: /home/alice/work/apps\n"
        "    deploy: {method: shared, sudo: never, signed: true}\n"
    )
    login = workshop.login
    login.run(["mkdir", "work/apps"], user="alice")
    login.run(["tee", "-a", ".config/vizdash/config.yaml"], user="alice", input=extra)
    run_vizdash(workshop, "build", "gedit", "--version", "1.1")
    done = run_vizdash(workshop, "deploy", "gedit", check=False)
    assert done.returncode == 1
    assert "it has no signature (deploy.signed requires one)" in done.stderr
    image = "work/store/gedit/gedit-1.1.sif"
    pair = ["apptainer", "key", "newpair", "-N", "A", "-E", "a@example.org", "-C", "x"]
    login.run([*pair, "-b", "2048", "-P", "", "--push=false"], user="alice", timeout=120)
    login.run(["apptainer", "sign", image], user="alice")
    try:
        run_vizdash(workshop, "deploy", "gedit")
        assert jobs_on_nodes(workshop, "1.1") == set(recipe.NODES)
        # Another content under that signature, as a new version.
        copy = "work/store/gedit/gedit-1.2.sif"
        login.run(["cp", image, copy], user="alice")
        middle = int(login.run(["stat", "-c", "%s", copy], user="alice").stdout) // 2
        words = f"f=open('{copy}','r+b'); f.seek({middle}); b=f.read(1)[0]^1; f.seek({middle}); "
        login.run(["python3", "-c", f"{words}f.write(bytes([b]))"], user="alice")
        done = run_vizdash(workshop, "deploy", "gedit", "--version", "1.2", "--force", check=False)
        assert done.returncode == 1 and "it was changed after it was signed" in done.stderr, (
            done.stderr
        )
        assert jobs_on_nodes(workshop, "1.1") == set(recipe.NODES)
    finally:
        login.run("rm -rf ~/.apptainer/keys ~/.apptainer/sypgp", user="alice")
