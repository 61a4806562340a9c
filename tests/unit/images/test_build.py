"""The course of a build, on recorded output of Apptainer."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.images.recorded_images import build_output, image
from vizdash.config import Build, Cluster
from vizdash.errors import Refused, UsageError, VizdashError
from vizdash.images import build, build_history, sif
from vizdash.images.build import BuildFailed, BuildPlan, BuildProgress, BuildRequest
from vizdash.images.image_store import BuiltImage, ImageStore


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class LinesStream:
    """Says ``lines``; with None among them it hangs there."""

    def __init__(self, lines: Sequence[str | None], code: int) -> None:
        self.texts = lines
        self.code = code
        self.finished = 0

    async def lines(self) -> AsyncIterator[str]:
        for line in self.texts:
            if line is None:
                await asyncio.Event().wait()
            else:
                yield line

    async def finish(self) -> int:
        self.finished += 1
        return self.code


class LinesStreamer:
    """Opens one stream, made from the script that it is given."""

    def __init__(self, make: Callable[[dict[str, str]], LinesStream]) -> None:
        self.make = make
        self.stream: LinesStream | None = None
        self.argv: Sequence[str] = ()
        self.values: dict[str, str] = {}

    async def open(self, argv: Sequence[str], script: str) -> LinesStream:
        self.argv = argv
        head = script.partition("#!/bin/bash")[0]
        for name in ("mark", "result", "arguments", "folder"):
            line = next(x for x in head.splitlines() if x.startswith(f"{name}="))
            self.values[name] = line.partition("=")[2].strip("'")
        self.stream = self.make(self.values)
        return self.stream


def plan(tmp_path: Path, *, where: str = "here", **request: object) -> BuildPlan:
    (tmp_path / "base.sif").touch()
    arguments = {"bootstrap": "localimage", "base": str(tmp_path / "base.sif"), "other": "unused"}
    cluster = Cluster("here", build=Build(where=where, definitions="", arguments=arguments))
    wanted = BuildRequest("gedit", **{"version": "1.1", **request})  # type: ignore[arg-type]
    return build.plan_build(wanted, cluster, ImageStore(tmp_path / "store"), slurm=True)


def good(values: dict[str, str]) -> LinesStream:
    source = image(Path(values["result"]).parent, "tiny")
    shutil.move(source, values["result"])
    digest = sif.digest(Path(values["result"]))
    size = Path(values["result"]).stat().st_size
    mark = values["mark"]
    lines = ["", f"{mark} at viz-node001 /tmp/x", *build_output("tiny").splitlines()]
    return LinesStream([*lines, "", f"{mark} built {digest} {size} {values['result']}", None], 0)


async def run(plan: BuildPlan, streamer: LinesStreamer) -> tuple[BuiltImage, list[BuildProgress]]:
    seen: list[BuildProgress] = []
    return await build.run_build(plan, streamer, seen.append), seen


async def test_a_good_build_becomes_an_image(tmp_path: Path) -> None:
    streamer = LinesStreamer(good)
    built, seen = await run(plan(tmp_path), streamer)
    assert Path(built.path) == tmp_path / "store/gedit/gedit-1.1.sif"
    assert (built.version, built.arch, built.built_on) == ("1.1", "amd64", "viz-node001")
    assert built.digest == sif.digest(Path(built.path))
    phases = list(dict.fromkeys(p.phase for p in seen))
    assert phases == ["start", "bootstrap", "post", "metadata", "squashfs", "check"]
    assert "hello from post" in [p.line for p in seen]
    assert not any("vizdash-" in (p.line or "") for p in seen)
    assert streamer.stream is not None and streamer.stream.finished == 1
    assert streamer.argv == ("bash", "--norc", "-p", "-s")
    assert "--build-arg version=1.1" in streamer.values["arguments"]
    assert "unused" not in streamer.values["arguments"]
    record = build_history.find_run("gedit")
    assert (record.outcome, record.version) == ("ok", "1.1")
    assert Path(record.log).read_text() == build_output("tiny")
    assert set(record.phases) >= {"post", "squashfs"}
    assert build_history.last_successful("gedit") == record


async def test_a_failed_build_leaves_its_log_and_no_image(tmp_path: Path) -> None:
    def fail(values: dict[str, str]) -> LinesStream:
        Path(values["result"]).write_bytes(b"half an image")
        return LinesStream(
            [*build_output("failing").splitlines(), "", f"{values['mark']} ended 255"], 255
        )

    with pytest.raises(BuildFailed) as error:
        await run(plan(tmp_path), LinesStreamer(fail))
    assert "gedit 1.1 was not built: %post failed at: cat /no/such/file" in error.value.line
    assert list((tmp_path / "store/gedit").iterdir()) == []
    record = build_history.find_run("gedit")
    assert record.outcome == "failed" and "cat /no/such/file" in record.why
    assert Path(error.value.log).read_text() == build_output("failing")


async def test_an_image_is_compared_with_what_was_built(tmp_path: Path) -> None:
    def spoilt(values: dict[str, str]) -> LinesStream:
        stream = good(values)
        with Path(values["result"]).open("r+b") as file:
            file.seek(-9, 2)
            file.write(b"123456789")
        return stream

    with pytest.raises(BuildFailed, match="differs from what the build wrote"):
        await run(plan(tmp_path), LinesStreamer(spoilt))
    assert list((tmp_path / "store/gedit").iterdir()) == []


async def test_an_image_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="its label says version"):
        await run(plan(tmp_path, version="2.0"), LinesStreamer(good))


async def test_cancelling_ends_the_stream_before_it_returns(tmp_path: Path) -> None:
    streamer = LinesStreamer(
        lambda values: LinesStream(["INFO:    Running post scriptlet", None], 143)
    )
    task = asyncio.create_task(run(plan(tmp_path), streamer))
    while streamer.stream is None:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert streamer.stream.finished == 1
    assert build_history.find_run("gedit").outcome == "cancelled"
    assert list((tmp_path / "store/gedit").iterdir()) == []


def test_what_can_be_checked_is_reported_before_the_build(tmp_path: Path) -> None:
    first = plan(tmp_path)
    store = first.store.image_path("gedit", "1.1")
    store.parent.mkdir(parents=True)
    store.touch()
    with pytest.raises(Refused, match=r"--version 1\.2, or --replace"):
        plan(tmp_path)
    assert plan(tmp_path, replace=True).replace
    with pytest.raises(UsageError, match="not a valid name of a build argument"):
        plan(tmp_path, version="3", arguments={"a b": "c"})
    with pytest.raises(UsageError, match="no such file"):
        plan(tmp_path, version="3", arguments={"base": "/no/such.sif"})
    assert plan(tmp_path, version="", arguments={"version": "4"}).version == "4"


@pytest.mark.parametrize("where", ["-oProxyCommand=x", "a b", "x;y", ""])
def test_hosts_are_names(tmp_path: Path, where: str) -> None:
    if where:
        with pytest.raises(UsageError, match="not a host name"):
            plan(tmp_path, where=where)
    else:
        argv = plan(tmp_path, where="job").host.argv
        assert "SLURM_JOB_ID" in argv[: argv.index("srun")]  # unset by env(1)
        assert argv[-4:] == ("bash", "--norc", "-p", "-s")
        assert plan(tmp_path, where="me@builder").host.argv[-2:] == (
            "me@builder",
            "bash --norc -p -s",
        )


def test_a_job_needs_slurm(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Slurm is not available"):
        build.plan_build(
            BuildRequest("gedit", where="job"), Cluster("x"), ImageStore(tmp_path), slurm=False
        )


def test_an_interrupted_build_is_reported_once(tmp_path: Path) -> None:
    with build_history.start_run("gedit", "1.0", "here") as log:
        assert build_history.find_run("gedit").outcome == "running"
        assert build_history.record_interrupted("gedit") == ()
        path = log.run.log
    assert build_history.find_run("gedit").outcome == "interrupted"
    assert [run.log for run in build_history.record_interrupted("gedit")] == [path]
    assert build_history.record_interrupted("gedit") == ()
    with pytest.raises(VizdashError, match="you have not run any"):
        build_history.find_run("gedit", "9.9")


def test_only_the_last_logs_are_kept(tmp_path: Path) -> None:
    folder = build_history.runs_folder("gedit")
    folder.mkdir(parents=True)
    for number in range(30):
        path = folder / f"20200101-0000{number:02}-aaaa.log"
        path.touch()
        path.with_suffix(".json").write_text(f'{{"id": "{path.stem}", "app": "gedit"}}')
    with build_history.start_run("gedit", "1.0", "here"):
        pass
    assert len(build_history.list_runs("gedit")) == 20
    assert len(list(folder.iterdir())) == 40
