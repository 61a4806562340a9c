"""assets/jobs/build.sh itself, with a fake program called apptainer."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.images.recorded_images import SIZES, head
from vizdash.config import Build, Cluster
from vizdash.errors import Refused, UsageError
from vizdash.images import build, build_history
from vizdash.images.build import BuildFailed, BuildPlan, BuildRequest
from vizdash.images.build_hosts import BuildHost
from vizdash.images.image_store import BuiltImage, ImageStore
from vizdash.transport.local import LocalStreamer
from vizdash.util.assets import job_script

#: Called as apptainer build OPTIONS IMAGE DEFINITION.
_GOOD = 'image=${*: -2:1}; cp "$RECORDED" "$image"; truncate -s "$SIZE" "$image"'


class Workshop:
    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path
        self.tools = tmp_path / "tools"
        self.tmp = tmp_path / "tmp"
        self.defs = tmp_path / "defs"
        for folder in (self.tools, self.tmp, self.defs):
            folder.mkdir()
        monkeypatch.setenv("PATH", f"{self.tools}:{os.environ['PATH']}")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        (tmp_path / "tiny").write_bytes(head("tiny"))
        monkeypatch.setenv("RECORDED", str(tmp_path / "tiny"))
        monkeypatch.setenv("SIZE", str(SIZES["tiny"]))
        self.define()

    def define(self, more: str = "") -> None:
        (self.defs / "tiny.def").write_text(f"Bootstrap: docker\nFrom: x\n{more}\n")

    def tool(self, name: str, text: str) -> None:
        (self.tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.tools / name).chmod(0o755)

    def plan(self, *, far: bool = False) -> BuildPlan:
        settings = Build(definitions=str(self.defs), tmpdir=str(self.tmp))
        request = BuildRequest("tiny", version="1.1")
        store = ImageStore(self.folder / "store")
        made = build.plan_build(request, Cluster("x", build=settings), store, slurm=False)
        if not far:
            return made
        # As over ssh: bash there, and the image is fetched.
        talk = "echo Authorized use only >&2; "
        there = BuildHost(
            "far", ("bash", "--norc", "-c", f"{talk}exec bash --norc -s"), False, ("sh", "-c")
        )
        return replace(made, host=there)

    async def build(self, *, far: bool = False) -> BuiltImage:
        made = await asyncio.to_thread(self.plan, far=far)
        return await asyncio.wait_for(build.run_build(made, LocalStreamer(), lambda p: None), 60)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


@pytest.mark.parametrize("far", [False, True])
async def test_no_image_and_no_error_is_an_end(workshop: Workshop, far: bool) -> None:
    workshop.tool("apptainer", "exit 0")
    with pytest.raises(BuildFailed, match=r"apptainer succeeded, but .*image\.sif"):
        await workshop.build(far=far)
    assert list(workshop.tmp.iterdir()) == []


async def test_the_work_folder_has_one_name_for_all_of_its_life(workshop: Workshop) -> None:
    """Between two names, another user could place the second one first."""
    log = workshop.folder / "made"
    workshop.tool("mktemp", f'made=$(/usr/bin/mktemp "$@") && echo "$made" | tee -a {log}')
    workshop.tool("apptainer", f'echo "$VIZDASH_BUILD" >>{log}; exit 1')
    with pytest.raises(BuildFailed):
        await workshop.build()
    made, used = log.read_text().split()
    assert made == used


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder is needed")
async def test_another_users_folder_is_not_built_in(workshop: Workshop) -> None:
    workshop.tool("apptainer", f"touch {workshop.folder}/ran")
    swap = 'made=$(/usr/bin/mktemp "$@") && chown 65534 "$made" && echo "$made"'
    workshop.tool("mktemp", swap)
    with pytest.raises(BuildFailed, match="cannot make a private folder in"):
        await workshop.build()
    assert not (workshop.folder / "ran").exists()


async def test_a_folder_where_anybody_can_rename_is_refused(workshop: Workshop) -> None:
    workshop.tool("apptainer", _GOOD)
    workshop.tmp.chmod(0o777)
    with pytest.raises(BuildFailed, match="anyone can rename files in"):
        await workshop.build()
    workshop.tmp.chmod(0o1777)
    assert (await workshop.build()).version == "1.1"


@pytest.mark.parametrize("far", [False, True])
async def test_files_beside_the_definition_come_along(workshop: Workshop, far: bool) -> None:
    (workshop.defs / "conf d").mkdir()
    (workshop.defs / "conf d/a.txt").write_text("one")
    for name in ("x1", "x2"):
        (workshop.defs / name).write_text(name)
    workshop.define('%files\n  "conf d" /etc/conf\n  x* /opt/\n%files from stage\n  not/here /x')
    seen = workshop.folder / "seen"
    workshop.tool("apptainer", f'cat "conf d/a.txt" x1 x2 >{seen}; {_GOOD}')
    built = await workshop.build(far=far)
    assert seen.read_text() == "onex1x2"
    assert Path(built.path).stat().st_size == SIZES["tiny"]
    assert list(workshop.tmp.iterdir()) == []


def test_a_missing_file_is_reported_before_the_build(workshop: Workshop) -> None:
    workshop.define("%files\n  none.txt /etc/")
    with pytest.raises(UsageError, match=r"%files none\.txt: no such file in"):
        workshop.plan()


async def test_what_is_outside_stays_here(workshop: Workshop) -> None:
    (workshop.folder / "outside").write_text("x")
    workshop.define("%files\n  ../outside /etc/")
    workshop.tool("apptainer", _GOOD)
    with pytest.raises(Refused, match="outside of"):
        await workshop.build(far=True)
    assert (await workshop.build()).version == "1.1"


async def test_what_ssh_says_does_not_reach_the_terminal(
    workshop: Workshop, capfd: pytest.CaptureFixture[str]
) -> None:
    workshop.tool("apptainer", _GOOD)
    made = workshop.plan(far=True)
    noisy = ("bash", "--norc", "-c", 'echo Authorized use only >&2; eval "$0"')
    place = replace(made.host, reader=noisy)
    await build.run_build(replace(made, host=place), LocalStreamer(), lambda p: None)
    assert "Authorized" not in "".join(capfd.readouterr())


async def test_a_log_has_a_limit(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_history, "MOST", 40_000)
    workshop.tool("apptainer", "echo first; seq 100000; echo 'FATAL:   last'; exit 1")
    with pytest.raises(BuildFailed, match="last") as error:
        await workshop.build()
    text = Path(error.value.log).read_text()
    assert len(text) <= 41_000
    lines = text.splitlines()
    assert lines[0] == "first" and lines[-1] == "FATAL:   last"
    (note,) = [line for line in lines if line.startswith("[vizdash: ")]
    whole = "first\n" + "".join(f"{n}\n" for n in range(1, 100_001)) + "FATAL:   last\n"
    assert int(note.split()[1]) == len(whole) - len(text.replace(f"{note}\n", "")), note


def test_a_process_that_one_look_misses_is_ended_too(tmp_path: Path) -> None:
    """During execve(2) a process shows no environment."""
    found = re.search(
        r"^end_marked\(\) \{\n.*?^\}\n",
        job_script("build.sh").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None
    looks = "marked() { [ -e looked ] && echo $pid; : >looked; }"
    script = f"{found[0]}{looks}; sleep 1000 & pid=$!; end_marked x; kill -0 $pid"
    done = subprocess.run(["bash", "-uc", script], cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 1
