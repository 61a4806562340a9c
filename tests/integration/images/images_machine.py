"""Any order of what operators, accidents and hands do to images, against a small model of what must
be current, present and told; on folders as nodes, and on the nodes of the lab.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.integration.images.image_site import FolderSite, ImageSite, Progress
from tests.integration.images.operators import SIZE, image_bytes
from vizdash.errors import NotFound
from vizdash.images.progress import Phase

T = TypeVar("T")
NODES = ("n1", "n2")
VERSIONS = tuple(f"1.{n}" for n in range(12))
FLIP_AT = 36 << 10


def flipped(version: str) -> bytes:
    data = image_bytes(version)
    return data[:FLIP_AT] + b"flipped!" + data[FLIP_AT + 8 :]


@dataclass
class File:
    """An image on a node. ``recorded`` is what its digest file knows; ``broken`` that the damage
    was read.
    """

    content: bytes
    recorded: bytes | None = None
    broken: bool = False

    def known_bad(self) -> bool:
        """What a look tells without reading it."""
        if self.recorded is None:
            return len(self.content) < SIZE
        return self.broken or len(self.content) != len(self.recorded)


@dataclass
class Model:
    """A node. ``stack`` is what a rollback goes back through, the current one last; ``ran`` what
    each version was when it last became current.
    """

    files: dict[str, File] = field(default_factory=dict)
    stack: list[str] = field(default_factory=list)
    ran: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def current(self) -> str:
        return self.stack[-1] if self.stack else ""

    def brings(self, version: str) -> bool:
        """A deploy: whether the image is there and whole afterwards."""
        want, file = image_bytes(version), self.files.get(version)
        if file is None or (file.recorded == want and (file.content != want or file.broken)):
            self.files[version] = File(want, want)
            return True
        if file.content == want and file.recorded in {None, want}:
            file.recorded, file.broken = want, False
            return True
        return False

    def switch(self, version: str, *, back: bool = False) -> None:
        if version == self.current:
            return
        if back and version in self.stack:
            del self.stack[self.stack.index(version) + 1 :]
        else:
            self.stack.append(version)
        self.ran[version] = self.files[version].recorded

    def before(self) -> str:
        """The version that a rollback goes to; empty where there is none."""
        for version in reversed(self.stack[:-1]):
            file = self.files.get(version)
            if version != self.current and file and not file.known_bad():
                return version
        return ""

    def read(self, version: str) -> bool:
        """A rollback reads it: whether it is what it was."""
        file = self.files[version]
        want = self.ran.get(version) or file.recorded
        if want is None:
            file.recorded = file.content
            return True
        if file.content != want:
            file.recorded, file.broken = want, True
            return False
        return True


class Images(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.site = self.open_site()
        self.operator = self.site.operator
        self.models = {node: Model() for node in NODES}
        self.built: list[str] = []
        self.cut_off = ""
        self.loop = asyncio.new_event_loop()

    @staticmethod
    def open_site() -> ImageSite:
        """Where the images are."""
        return FolderSite(NODES)

    def teardown(self) -> None:
        self.loop.close()
        self.site.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # ---------------------------------------------------------------- what is there

    def file(self, node: str, version: str) -> Path:
        return self.site.folder_of(node) / f"gedit-{version}.sif"

    def take_messages(self) -> list[str]:
        """What was said since the last time. What was cut off is told once, by the next change."""
        lines, self.operator.messages[:] = list(self.operator.messages), []
        cut = [line for line in lines if line.startswith("interrupted: ")]
        assert [bool(self.cut_off)] == [bool(cut)] and len(cut) < 2, (self.cut_off, lines)
        assert all(self.cut_off in line for line in cut)
        self.cut_off = ""
        return [line for line in lines if line not in cut]

    # ---------------------------------------------------------------- rules

    @initialize()
    def two_versions(self) -> None:
        """Most of what can go wrong needs one that is current and one before it."""
        for _ in range(2):
            self.build()
            self.do(self.operator.deploy(self.built[-1]))
            for model in self.models.values():
                assert model.brings(self.built[-1])
                model.switch(self.built[-1])

    @rule()
    def build(self) -> None:
        if len(self.built) < len(VERSIONS):
            version = VERSIONS[len(self.built)]
            self.operator.build(version)
            self.built.append(version)

    @precondition(lambda self: self.built)
    @rule(
        data=st.data(),
        nodes=st.sampled_from([NODES, NODES, NODES[:1], NODES[1:]]),
        canary=st.booleans(),
        failing=st.sampled_from(["", "", "", "n1", "n2"]),
    )
    def deploy(
        self, data: st.DataObject, nodes: tuple[str, ...], canary: bool, failing: str
    ) -> None:
        version = data.draw(st.sampled_from(self.built[-4:]))
        failing = self.site.let_smoke_test_fail(failing)
        first = nodes[0] if canary else ""
        chosen = nodes if nodes != NODES else ()
        progress = self.do(
            self.operator.deploy(version, *chosen, canary=first, smoke_test=self.site.smoke)
        )
        ok = True
        for node in nodes:
            if canary and node != nodes[0] and not ok:
                assert progress.nodes[node].phase is Phase.SKIPPED
                continue
            good = self.models[node].brings(version)
            if good and node != failing:
                self.models[node].switch(version)
            ended = progress.nodes[node]
            assert (ended.phase is Phase.DONE) == (good and node != failing), ended.note
            ok = ok and ended.phase is Phase.DONE
        assert self.take_messages() == []
        self.noted("deploy", progress)

    @precondition(lambda self: any(model.stack for model in self.models.values()))
    @rule(node=st.sampled_from(NODES))
    def rollback(self, node: str) -> None:
        model = self.models[node]
        to = model.before()
        try:
            progress = self.do(self.operator.rollback(node))
        except NotFound:
            assert to == ""
            return
        row = progress.nodes[node]
        assert to, "it went back to something that never ran"
        if model.read(to):
            assert row.phase is Phase.DONE, row.note
            model.switch(to, back=True)
        else:
            assert row.phase is Phase.FAILED and "is damaged" in row.note
        assert self.take_messages() == []
        self.noted("rollback", progress)

    @precondition(lambda self: any(len(model.files) > 1 for model in self.models.values()))
    @rule(keep=st.integers(1, 2))
    def prune(self, keep: int) -> None:
        progress = self.do(self.operator.prune(keep))
        for model in self.models.values():
            newest = sorted(model.files, key=lambda v: int(v.partition(".")[2]), reverse=True)
            for version in newest[keep:]:
                if version != model.current:
                    del model.files[version]
        assert not progress.failed, [row.note for row in progress.failed]
        if progress.nodes:
            assert self.take_messages() == []
            self.noted("prune", progress)

    @precondition(lambda self: self.built)
    @rule(data=st.data(), node=st.sampled_from(NODES), short=st.booleans())
    def copy_by_hand(self, data: st.DataObject, node: str, short: bool) -> None:
        version = data.draw(st.sampled_from(self.built[-4:]))
        if version in self.models[node].files:
            return
        content = image_bytes(version)[: 34_000 if short else SIZE]
        self.site.put(self.file(node, version), content)
        self.models[node].files[version] = File(content)

    @precondition(lambda self: any(model.files for model in self.models.values()))
    @rule(data=st.data(), node=st.sampled_from(NODES))
    def flip_a_bit(self, data: st.DataObject, node: str) -> None:
        """Size, time and inode stay: only reading it tells."""
        files = self.models[node].files
        whole = sorted(v for v, file in files.items() if len(file.content) == SIZE)
        if not whole:
            return
        # Most of all what a rollback would go to.
        before = [v for v in (self.models[node].before(),) if v in whole]
        version = data.draw(st.sampled_from(before * 5 + whole))
        path = self.file(node, version)
        about = path.stat()
        with path.open("r+b") as opened:
            opened.seek(FLIP_AT)
            opened.write(b"flipped!")
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        files[version].content = flipped(version)

    @rule()
    def verify(self) -> None:
        verdicts = self.do(self.operator.verify())
        for verdict in verdicts:
            file = self.models[verdict.node].files[verdict.version]
            good = file.recorded in {None, file.content}
            assert verdict.good == good
            if file.recorded is None:
                file.recorded = file.content
            file.broken = not good

    @precondition(lambda self: self.built)
    @rule(data=st.data(), at=st.integers(5, 30), after=st.booleans(), back=st.booleans())
    def killed(self, data: st.DataObject, at: int, after: bool, back: bool) -> None:
        """SIGKILL while one operator deploys or rolls back."""
        version = data.draw(st.sampled_from(self.built[-4:]))
        node = data.draw(st.sampled_from(NODES)) if back else ""
        to = self.models[node].before() if back else version
        verb = "rollback" if back else "deploy"
        was = self.cut_off
        killed = self.site.kill(verb, version, node, at, after=after)
        left = self.site.lease.read_text() if self.site.lease.exists() else ""
        self.cut_off = (json.loads(left)["verb"] and _holder_text(left)) if left else ""
        if not killed:  # it was over before, or could not even begin
            assert self.cut_off in {"", was}
        for name in (node,) if back else NODES:
            self.catch_up(name, to, back=back)

    def catch_up(self, node: str, version: str, *, back: bool) -> None:
        """What a killed operator may have done is one of two things; which one is seen."""
        model = self.models[node]
        if not version:
            return
        path = self.file(node, version)
        was = model.files.get(version)
        if back:
            if _current(self.site.folder_of(node)) == version and version != model.current:
                assert model.read(version)
                model.switch(version, back=True)
            elif _damaged(path):
                model.read(version)
            return
        there = path.exists() and path.read_bytes() == image_bytes(version)
        record = _recorded(path)
        if there and record == image_bytes(version) and not _damaged(path):
            model.brings(version)
        elif there and was is None:
            # Named, its digest not written down yet.
            model.files[version] = File(image_bytes(version), None)
        elif was is not None and _damaged(path):
            was.broken = True
        if _current(self.site.folder_of(node)) == version:
            assert there, "half an image became current"
            model.switch(version)

    @precondition(lambda self: len(self.built) > 1)
    @rule(data=st.data(), second=st.sampled_from(["deploy", "rollback", "prune"]))
    def two_at_once(self, data: st.DataObject, second: str) -> None:
        """Whoever comes while the other is at it is refused, and told who that is."""
        version = data.draw(st.sampled_from(self.built[-4:]))
        progress, tried, changed = self.do(
            self.site.two_at_once(version, second, self.built[0], settling=bool(self.cut_off))
        )
        assert not changed, "two changed one app at once"
        for node in NODES:
            if self.models[node].brings(version):
                self.models[node].switch(version)
                assert progress.nodes[node].phase is Phase.DONE, progress.nodes[node].note
        assert tried == "" or f"deploys gedit {version} from" in tried
        assert self.take_messages() == []
        self.noted("deploy", progress)

    # ---------------------------------------------------------------- what must hold

    def noted(self, action: str, progress: Progress) -> None:
        """It began and ended in the log, and the inventory is what is there."""
        events = self.operator.history()
        run = events[-1].run
        mine = [event for event in events if event.run == run]
        assert mine[0].outcome == "began" and mine[0].action == action
        assert {event.node for event in mine[1:]} == {
            self.site.name(node) for node in progress.nodes
        }
        known = json.loads(self.site.inventory.read_text())["nodes"]
        for node in progress.nodes:
            current = {
                image["path"].rpartition("/")[2]
                for image in known[self.site.name(node)]["images"]
                if image["current"] and not image["path"].endswith("/gedit.sif")
            }
            version = self.models[node].current
            assert current == ({f"gedit-{version}.sif"} if version else set())

    @invariant()
    def each_node_is_as_the_model_says(self) -> None:
        for node, model in self.models.items():
            folder = self.site.folder_of(node)
            assert _current(folder) == model.current
            there = {p.stem.removeprefix("gedit-"): p for p in folder.glob("gedit-*.sif")}
            assert set(there) == set(model.files)
            for version, path in there.items():
                assert path.read_bytes() == model.files[version].content


def _current(folder: Path) -> str:
    link = folder / "gedit.sif"
    return (
        os.readlink(link).removeprefix("gedit-").removesuffix(".sif") if link.is_symlink() else ""
    )


def _recorded(path: Path) -> bytes | None:
    """Which content its digest file knows."""
    try:
        digest = path.with_name(f"{path.name}.sha256").read_text()[:64]
    except FileNotFoundError:
        return None
    version = path.stem.removeprefix("gedit-")
    for data in (image_bytes(version), flipped(version), image_bytes(version)[:34_000]):
        if hashlib.sha256(data).hexdigest() == digest:
            return data
    raise AssertionError("a digest of nothing that was ever there")


def _damaged(path: Path) -> bool:
    record = path.with_name(f"{path.name}.sha256")
    return record.exists() and "# damaged: " in record.read_text()


def _holder_text(left: str) -> str:
    values = json.loads(left)
    verb = {"deploy": "deploys", "rollback": "rolls back"}[values["verb"]]
    return f"{verb} gedit {values['version']} from"


def machine_settings(*, examples: int) -> settings:
    """So many runs of twelve steps each, the same ones every time."""
    return settings(
        max_examples=examples,
        stateful_step_count=12,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        # A failure is shown as it was found: making it smaller takes an hour.
        phases=(hypothesis.Phase.generate,),
    )
