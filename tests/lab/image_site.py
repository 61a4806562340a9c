"""Images of the lab: real nodes, and the deploy account's vizdash on the login host."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.images.image_site import Progress
from tests.integration.images.operators import Verdict, image_bytes
from tests.lab import Lab
from tests.lab.gedit_builds import ADMIN, HOME
from tests.lab.verbs import run_vizdash
from vizdash.errors import NotFound
from vizdash.images import audit_log
from vizdash.images.progress import Phase

_ROOT = "/opt/apptainers/apps"
_FOLDER = f"{_ROOT}/gedit"
_STATE = f"{HOME}/images"
_CONFIG = f"""
clusters:
  lab:
    image_store: {HOME}/store
    audit_log: {_STATE}/log.jsonl
    deploy: {{method: chain, inventory: {_STATE}/inventory.json}}
"""
#: Seconds of a verb for each step that it is let go before it is killed.
_STEP_S = 0.07


@dataclass(frozen=True, slots=True)
class _Row:
    phase: Phase
    note: str


@dataclass(frozen=True, slots=True)
class _Outcome(Progress):
    nodes: Mapping[str, _Row]

    @property
    def failed(self) -> Sequence[_Row]:
        return [row for row in self.nodes.values() if row.phase is Phase.FAILED]


class LabSite:
    """Two nodes of the lab. Nothing is left of what was there before."""

    smoke = False

    def __init__(self, lab: Lab, nodes: tuple[str, ...]) -> None:
        self._lab = lab
        self._hosts = dict(zip(nodes, lab.nodes, strict=False))
        self._names = {host.name: node for node, host in self._hosts.items()}
        self.messages: list[str] = []
        state = lab.login.root / _STATE[1:]
        self.lease, self.inventory = state / ".lease-gedit", state / "inventory.json"
        self._log = state / "log.jsonl"
        lab.login.run(f"rm -rf {_STATE} store; mkdir -p .config/vizdash {_STATE}", user=ADMIN)
        lab.login.run(["tee", ".config/vizdash/config.yaml"], user=ADMIN, input=_CONFIG)
        for host in lab.nodes:
            host.run(["rm", "-rf", _FOLDER])

    @property
    def operator(self) -> LabSite:
        return self

    def close(self) -> None:
        for host in self._lab.nodes:
            host.run(["rm", "-rf", _FOLDER])

    # ---------------------------------------------------------------- the site

    def name(self, node: str) -> str:
        return self._hosts[node].name

    def folder_of(self, node: str) -> Path:
        return self._hosts[node].root / _FOLDER[1:]

    def put(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        account = self._lab.login.run(["id", "-u", ADMIN]).stdout
        os.chown(path, int(account), -1)

    def let_smoke_test_fail(self, node: str) -> str:
        """Deploys here run none."""
        return ""

    def kill(self, verb: str, version: str, node: str, at: int, *, after: bool) -> bool:
        words = self._deploy(version) if verb == "deploy" else self._rollback(node)
        limit = f"{at * _STEP_S + (_STEP_S / 2 if after else 0):.2f}"
        command = ["timeout", "-s", "KILL", limit, "vizdash", *words]
        done = self._lab.login.run(command, user=ADMIN, check=False, timeout=300)
        self._wait_quiet()
        return done.returncode in {137, -9}

    def _wait_quiet(self) -> None:
        """What a killed vizdash had begun on a node ends by itself, and so does its ssh here."""
        mine = f"ps -u {ADMIN} -o args= | grep -e {_ROOT} -e vizdash-ssh | grep -v grep; true"
        deadline = time.monotonic() + 120
        for host in (self._lab.login, *self._hosts.values()):
            while left := host.run(mine).stdout:
                assert time.monotonic() < deadline, (host.name, left)
                time.sleep(0.05)

    async def two_at_once(
        self, version: str, second: str, older: str, *, settling: bool
    ) -> tuple[Progress, str, bool]:
        first = asyncio.create_task(asyncio.to_thread(self._run, *self._deploy(version)))
        while not first.done() and version not in self._lease_text():
            await asyncio.sleep(0.01)
        # It stands still while the other comes, if it is still at it.
        self._signal_deploy("STOP")
        try:
            other = None
            if version in self._lease_text() and not settling:
                words = {
                    "deploy": self._deploy(older),
                    "rollback": self._rollback(*self._hosts),
                    "prune": self._prune(1),
                }
                other = await asyncio.to_thread(self._run, *words[second])
        finally:
            self._signal_deploy("CONT")
            # nsenter(1), which has started it, stops with it, perhaps only now.
            resume = ["pkill", "-CONT", "-P", str(os.getpid()), "-x", "nsenter"]
            while not first.done():
                await asyncio.to_thread(subprocess.run, resume, check=False)
                await asyncio.sleep(0.2)
        progress = self._outcome("deploy", await first)
        if other is None:
            return progress, "", False
        if other.returncode == 0:  # a prune found nothing to remove
            return progress, "", bool(json.loads(other.stdout)[second]["nodes"])
        refused = next((line for line in other.stderr.splitlines() if " from " in line), "")
        return progress, refused, False

    def _signal_deploy(self, signal: str) -> None:
        pattern = "bin/vizdash deploy"
        self._lab.login.run(["pkill", f"-{signal}", "-u", ADMIN, "-f", pattern], check=False)

    def _lease_text(self) -> str:
        try:
            return self.lease.read_text()
        except FileNotFoundError:
            return ""

    # ---------------------------------------------------------------- the operator

    def build(self, version: str) -> None:
        file = self._lab.login.root / f"{HOME[1:]}/store/gedit/gedit-{version}.sif"
        self.put(file, image_bytes(version))

    async def deploy(
        self, version: str, *nodes: str, canary: str = "", smoke_test: bool = False
    ) -> Progress:
        words = self._deploy(version, *nodes)
        if canary:
            words = (*words, "--canary", self.name(canary))
        return self._outcome("deploy", self._run(*words))

    async def rollback(self, *nodes: str) -> Progress:
        return self._outcome("rollback", self._run(*self._rollback(*nodes)))

    async def prune(self, keep: int) -> Progress:
        return self._outcome("prune", self._run(*self._prune(keep)))

    async def verify(self) -> list[Verdict]:
        done = self._run("images", "gedit", "--verify", "--json", *self._chosen())
        rows = [row for row in json.loads(done.stdout)["images"] if row["verified"] is not None]
        return [
            Verdict(self._names[row["node"]], row["version"], row["verified"])
            for row in rows
            if not row["path"].endswith("/gedit.sif")
        ]

    def history(self) -> Sequence[audit_log.AuditEvent]:
        return audit_log.read_events(str(self._log), own=self._log.with_name("none")).events

    # ---------------------------------------------------------------- verbs

    def _chosen(self, *nodes: str) -> tuple[str, ...]:
        return ("--node", ",".join(self.name(node) for node in nodes or self._hosts))

    def _deploy(self, version: str, *nodes: str) -> tuple[str, ...]:
        where = self._chosen(*nodes)
        return ("deploy", "gedit", "--version", version, "--force", "--json", *where)

    def _rollback(self, *nodes: str) -> tuple[str, ...]:
        return ("rollback", "gedit", "--json", *self._chosen(*nodes))

    def _prune(self, keep: int) -> tuple[str, ...]:
        return ("prune", "gedit", "--keep", str(keep), "--yes", "--json", *self._chosen())

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = run_vizdash(self._lab, *words, user=ADMIN, check=False, timeout=600)
        _, interrupted, line = done.stderr.partition("interrupted: ")
        if interrupted:
            self.messages.append(interrupted + line.partition("\n")[0])
        return done

    def _outcome(self, verb: str, done: subprocess.CompletedProcess[str]) -> Progress:
        """Raises NotFound where nothing was tried."""
        if not done.stdout:
            assert verb == "rollback", done.stderr
            raise NotFound("rollback", done.stderr)
        rows: list[dict[str, Any]] = json.loads(done.stdout)[verb]["nodes"]
        return _Outcome(
            {self._names[row["node"]]: _Row(Phase(row["outcome"]), row["note"]) for row in rows}
        )
