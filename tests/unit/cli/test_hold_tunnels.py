"""Tunnels that outlive the dashboard, in a process without a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.console_script import Output, Vizdash
from vizdash.engines.local.machine import start_ticks

#: A dashboard's end with "keep and quit": two tunnels to sockets of ours, and the real rest.
SCRIPT = """
import asyncio, sys
from pathlib import Path
from types import SimpleNamespace
from vizdash.cli import dashboard, exit, hold_tunnels
from vizdash.model import Session, SessionState
from vizdash.sessions.routes import _tunnel
from vizdash.sessions.share_records import HeldShares
from vizdash.sessions.tunnel_records import HeldTunnels
from vizdash.transport.forwarders import LocalForward

folder = Path(sys.argv[1])
hold_tunnels._BACKGROUND_POLL_S = 0.1


class Sessions:
    async def query(self):
        # A thread of the pool must work after the fork.
        live = await asyncio.to_thread((folder / "live").exists)
        return [SimpleNamespace(job_id=job, live=live) for job in ("7", "8")]


class Service:
    desktops = SimpleNamespace(tunnels=HeldTunnels("viz"))
    shares = SimpleNamespace(held=HeldShares("viz"))
    sessions = Sessions()


async def serve(reader, writer):
    writer.write((await reader.readline()).upper())
    writer.close()


async def main():
    await asyncio.to_thread(str)
    service, routes = Service(), {}
    server = await asyncio.start_unix_server(serve, str(folder / "web"))
    exit.on_close_requests((service,))
    exit.on_signals(asyncio.Event().set)
    for job in ("7", "8"):
        connection = SimpleNamespace(password="geheim", kind="", scale=1)
        routes[job] = await _tunnel(connection, LocalForward(str(folder / "web")), handoff=False)
        session = Session("5e55100" + job, job, "desktop", "me", SessionState.READY, node="n1")
        service.desktops.tunnels.holder = "dashboard"
        await service.desktops.tunnels.add(session, routes[job])
    print(*(route.port for route in routes.values()), flush=True)
    if sys.argv[2:] == ["stay"]:
        await asyncio.to_thread(sys.stdin.read)
    try:
        await dashboard._keep_tunnels({service: routes})
    finally:
        for route in routes.values():
            await route.close()
        (folder / "over").touch()
        server.close()

asyncio.run(main())
"""


def wait_until(true: Callable[[], object], seen: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, seen()
        time.sleep(0.05)


class HeldTunnelsProcess:
    """Two tunnels in the background, by the process that the dashboard has left behind."""

    def __init__(self, folder: Path, vizdash: Vizdash) -> None:
        (folder / "live").touch()
        argv = [sys.executable, "-c", SCRIPT, str(folder)]
        # The terminal is given back at once: run() waits for the end of stdout.
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        self.folder = folder
        self.ports = [int(word) for word in done.stdout.split()]
        self.output = done.stderr
        self.vizdash = vizdash
        self.pid = int(self.output.split()[2])
        self.started = start_ticks(self.pid)

    def list_tunnels(self) -> list[dict[str, Any]]:
        """What another process lists."""
        found: list[dict[str, Any]] = self.vizdash("tunnels", "--json").json["tunnels"]
        return found

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.started

    def end(self, number: int) -> None:
        os.kill(self.pid, number)
        wait_until(lambda: not self.alive())


@pytest.fixture
def holder(tmp_path: Path, vizdash: Vizdash) -> Iterator[HeldTunnelsProcess]:
    made = HeldTunnelsProcess(tmp_path, vizdash)
    yield made
    with contextlib.suppress(ProcessLookupError):
        if made.alive():
            os.kill(made.pid, signal.SIGKILL)
    wait_until(lambda: not made.alive())


async def _ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"still there?\n")
    answer = await reader.read()
    writer.close()
    return answer


def answers(port: int) -> bool:
    return asyncio.run(_ask(port)) == b"STILL THERE?\n"


def is_free(port: int) -> bool:
    """Whether another process can listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def records(home: Path) -> list[str]:
    return [file.name for file in (home / ".local/state/vizdash/tunnels").iterdir()]


def test_a_tunnel_is_kept_until_its_session_is_over(holder: HeldTunnelsProcess) -> None:
    assert all(map(answers, holder.ports))
    assert not (holder.folder / "over").exists()
    (holder.folder / "live").unlink()
    wait_until((holder.folder / "over").exists)
    wait_until(lambda: not holder.alive())
    assert records(holder.folder) == []


def test_it_says_which_process_keeps_them_and_another_one_lists_them(
    holder: HeldTunnelsProcess,
) -> None:
    assert holder.output.splitlines()[0] == (
        f"vizdash: process {holder.pid} keeps 2 tunnels open: vizdash tunnels shows and closes them"
    )
    listed = holder.list_tunnels()
    assert [row["session"] for row in listed] == ["5e551007", "5e551008"]
    assert [row["port"] for row in listed] == holder.ports
    assert {(row["pid"], row["holder"], row["cluster"]) for row in listed} == {
        (holder.pid, "background", "viz")
    }
    output = holder.vizdash("tunnels", "5e551008")
    head, row = output.out.splitlines()
    assert head.split() == [
        "SESSION",
        "JOB",
        "APP",
        "NODE",
        "CLUSTER",
        "ADDRESS",
        "PID",
        "HELD",
        "BY",
    ]
    assert row.split() == [
        "5e551008", "8", "desktop", "n1", "viz", f"http://127.0.0.1:{holder.ports[1]}",
        str(holder.pid), "background",
    ]  # fmt: skip
    assert "geheim" not in json.dumps(listed) + output.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_frees_its_ports(holder: HeldTunnelsProcess, number: int) -> None:
    holder.end(number)
    assert (holder.folder / "over").exists()
    assert all(map(is_free, holder.ports))
    assert records(holder.folder) == []
    assert holder.list_tunnels() == []


def test_one_tunnel_of_two_is_closed_from_outside(holder: HeldTunnelsProcess) -> None:
    output = holder.vizdash("tunnels", "--close", "7")
    assert (
        output.line
        == f"the tunnel to session 5e551007 is closed (http://127.0.0.1:{holder.ports[0]})"
    )
    assert is_free(holder.ports[0])
    assert answers(holder.ports[1])
    assert [row["session"] for row in holder.list_tunnels()] == ["5e551008"]
    assert (
        holder.vizdash("tunnels", "--close", "--all", "--json").json["closed"][0]["job_id"] == "8"
    )
    assert is_free(holder.ports[1])
    wait_until(lambda: not holder.alive())


def test_records_of_a_killed_process_are_removed(holder: HeldTunnelsProcess) -> None:
    assert len(records(holder.folder)) == 2
    holder.end(signal.SIGKILL)
    assert len(records(holder.folder)) == 2
    output = holder.vizdash("tunnels")
    assert (output.code, output.out, output.line) == (0, "", "no tunnels are open on this machine")
    assert records(holder.folder) == []


def test_a_reused_pid_and_anothers_record_are_not_shown(holder: HeldTunnelsProcess) -> None:
    folder = holder.folder / ".local/state/vizdash/tunnels"
    assert folder.stat().st_mode & 0o777 == 0o700
    first, second = sorted(folder.iterdir())
    assert {file.stat().st_mode & 0o777 for file in (first, second)} == {0o600}
    # Its number belongs to another process now, which began at another time.
    reused = json.loads(first.read_text())
    first.write_text(json.dumps({**reused, "pid": os.getpid()}))
    if os.geteuid() == 0:
        os.chown(second, 65534, 65534)
    else:
        second.unlink()
        second.symlink_to("/etc/hostname")
    assert holder.list_tunnels() == []
    assert records(holder.folder) == [second.name]


def test_a_process_that_does_not_close_it_is_named(
    holder: HeldTunnelsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vizdash.sessions.tunnel_records._CLOSE_S", 0.5)
    os.kill(holder.pid, signal.SIGSTOP)
    output = holder.vizdash("tunnels", "--close", "5e551007")
    assert output.code == 1
    assert output.line == (
        f"tunnel to session 5e551007: process {holder.pid} has not closed it within 0.5 s "
        f"(end its process: kill {holder.pid})"
    )
    os.kill(holder.pid, signal.SIGCONT)


def test_two_at_once_do_not_lose_each_others_records(
    holder: HeldTunnelsProcess, tmp_path: Path, vizdash: Vizdash
) -> None:
    """A second one, whose dashboard is still there."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "live").touch()
    dashboard = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(other), "stay"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert dashboard.stdout is not None
    ports = [int(word) for word in dashboard.stdout.readline().split()]
    pids = {holder.pid: "background", dashboard.pid: "dashboard"}
    listed = holder.list_tunnels()
    assert {row["port"] for row in listed} == {*holder.ports, *ports}
    assert {row["pid"]: row["holder"] for row in listed} == pids
    output = vizdash("tunnels", "--close", "--all")
    assert output.code == 0
    assert output.err.count("is closed") == 4
    assert all(map(is_free, (*holder.ports, *ports)))
    _, stderr = dashboard.communicate(timeout=60)
    assert "keeps 2 tunnels open" in stderr
    wait_until((other / "over").exists)


def test_wrong_use_is_one_line(vizdash: Vizdash) -> None:
    def line(*words: str) -> tuple[int, str]:
        output: Output = vizdash("tunnels", *words)
        return output.code, output.line

    assert line("--close") == (2, "--close: no session is named (name sessions, or add --all)")
    assert line("--all") == (2, "--all: use it with --close and without sessions")
    assert line("--close", "77") == (2, "tunnel to session 77: there is none (open: none)")
    assert line() == (0, "no tunnels are open on this machine")


#: Goes to the background while the log of commands is slow.
_LOGGED = """
import asyncio, time
from vizdash.cli import hold_tunnels
from vizdash.util import command_log

write = command_log.append
command_log._LAST_S = 60

def slow(*entry):
    time.sleep(0.5)
    write(*entry)

async def main():
    hold_tunnels.detach(())("")

command_log.append = slow
command_log.start()
command_log.record(["before"], "exit 0")
asyncio.run(main())
command_log.record(["after"], "exit 0")
command_log.stop()
"""


def test_what_was_logged_before_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    subprocess.run([sys.executable, "-c", _LOGGED], check=True, timeout=60)
    log = tmp_path / "vizdash/log/commands.log"
    wait_until(lambda: log.exists() and "after" in log.read_text())
    entries = [line.rpartition(": ")[2] for line in log.read_text().splitlines()]
    assert entries == ["before", "after"]
