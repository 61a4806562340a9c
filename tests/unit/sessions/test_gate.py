"""The gate in front of a service (assets/jobs/gate.sh), run as a job runs it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vizdash.util.assets import job_script

SESSION = "0a1b2c3d"
TOKEN = "A_token-of-the-session"


class DesktopPage(socketserver.StreamRequestHandler):
    """Answers with the head of the request, and after an upgrade with what it gets."""

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        if b"Upgrade: websocket" in head:
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            self.wfile.write(self.rfile.readline().upper())
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(head) + head)


class GateBackend(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("127.0.0.1:40123", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class Gate:
    """A running gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask(self, verb: str, path: str, **headers: str) -> tuple[int, str, str]:
        """Status, body and Set-Cookie."""
        connection = UnixConnection(self.folder / "web")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(verb, path, headers=names)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers.get("Set-Cookie", "")

    def enter(self) -> str:
        """The cookie of a browser that was let in."""
        status, body, cookie = self.ask("POST", "/.vizdash/enter", X_Vizdash_Token=TOKEN)
        assert (status, body) == (200, f"/{SESSION}/lab?reset")
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
        return cookie.partition(";")[0]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with running_gate(tmp_path, "web", DesktopPage) as found:
        yield found


class PvServer(socketserver.StreamRequestHandler):
    """Echoes what it gets."""

    def handle(self) -> None:
        while data := self.request.recv(4096):
            self.request.sendall(data)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Gate]:
    """The gate of a pvserver 5.13."""
    (tmp_path / "version").write_text("5.13.2\n")
    (tmp_path / "app.log").write_text("Accepting connection(s): node:8000\n")
    with running_gate(tmp_path, "pvserver", PvServer) as found:
        yield found


@contextlib.contextmanager
def running_gate(
    tmp_path: Path, kind: str, handler: type[socketserver.StreamRequestHandler]
) -> Iterator[Gate]:
    source = job_script("gate.sh")
    program = subprocess.run(
        ["bash", "-c", f". {source}; service_gate"], capture_output=True, text=True, check=True
    ).stdout
    (tmp_path / "gate.py").write_text(program)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "events").touch()
    server = GateBackend(str(tmp_path / "service"), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    argv = [sys.executable, "-I", str(tmp_path / "gate.py"), str(tmp_path), kind, "socket"]
    running = subprocess.Popen([*argv, "0", SESSION, "/{id}/lab?reset"])
    try:
        wait_until((tmp_path / "answered").exists, "the gate to listen", 60)
        yield Gate(tmp_path)
    finally:
        running.kill()
        running.wait()
        server.shutdown()
        server.server_close()


def test_nothing_is_served_without_the_cookie(gate: Gate) -> None:
    assert gate.ask("GET", "/")[0] == 403
    assert gate.ask("GET", "/", Cookie=f"vizdash-{SESSION}=x")[0] == 403
    assert gate.ask("POST", "/.vizdash/enter", X_Vizdash_Token="x")[0] == 403
    assert gate.ask("GET", "/.vizdash/enter", X_Vizdash_Token=TOKEN)[0] == 403
    status, page, _ = gate.ask("GET", "/.vizdash/open")
    assert status == 200
    assert TOKEN not in page
    assert (gate.folder / "web").stat().st_mode & 0o077 == 0


def test_the_app_gets_the_request_without_the_gates_cookie(gate: Gate) -> None:
    cookie = gate.enter()
    status, head, _ = gate.ask("GET", "/a?b", Cookie=f"own=1; {cookie}; other=2", X_Other="kept")
    assert status == 200
    assert head.startswith("GET /a?b HTTP/1.1\r\n")
    assert "\r\nCookie: own=1; other=2\r\n" in head
    assert "\r\nX-Other: kept\r\n" in head
    assert "\r\nConnection: close\r\n" in head
    assert "Cookie" not in gate.ask("GET", "/", Cookie=cookie)[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:40124"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    ],
)
def test_pages_of_other_origins_are_refused(gate: Gate, headers: dict[str, str]) -> None:
    cookie = gate.enter()
    own = {"Origin": "http://127.0.0.1:40123", "Sec_Fetch_Site": "same-origin"}
    assert gate.ask("POST", "/", Cookie=cookie, **own)[0] == 200
    assert gate.ask("POST", "/", Cookie=cookie, **headers)[0] == 403
    assert gate.ask("GET", "/", Cookie=cookie, **headers)[0] == 403
    entering = {"X_Vizdash_Token": TOKEN, **headers}
    assert gate.ask("POST", "/.vizdash/enter", **entering)[0] == 403


def test_a_websocket_passes(gate: Gate) -> None:
    cookie = gate.enter()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(gate.folder / "web"))
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:40123\r\nOrigin: http://127.0.0.1:40123\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nCookie: %s\r\n\r\n" % cookie.encode()
        )
        client.sendall(b"words\n")
        output = b""
        while part := client.recv(4096):
            output += part
    assert output == b"HTTP/1.1 101 Switching Protocols\r\n\r\nWORDS\n"


def test_viewers_are_reported(gate: Gate) -> None:
    def reports() -> str:
        return (gate.folder / "events").read_text()

    gate.enter()
    gate.enter()
    wait_until(lambda: "viewers 2" in reports(), "two viewers", 60, reports)


def test_a_check_does_not_reach_the_pvserver(relay: Gate) -> None:
    assert relay.ask("GET", "/vnc.html")[:2] == (404, "This is a pvserver.")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(relay.folder / "web"))
        client.sendall(b"CONNECT pvserver HTTP/1.0\r\nX-Vizdash-Token: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(("release", "passes"), [("5.13", True), ("5.11", False)])
def test_a_client_of_another_paraview_is_refused_with_both_versions(
    relay: Gate, release: str, passes: bool
) -> None:
    # The handshake of vtkSMSessionClient, after the sockets' own.
    handshake = f"paraview-{release}.renderingbackend.opengl2".encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(relay.folder / "web"))
        client.sendall(f"CONNECT pvserver HTTP/1.0\r\nX-Vizdash-Token: {TOKEN}\r\n\r\n".encode())
        client.sendall(b"\1\0\0\0")
        assert client.recv(4) == b"\1\0\0\0"
        client.sendall(handshake[:10])
        assert client.recv(10) == handshake[:10]
        client.sendall(handshake[10:])
        assert client.recv(100) == (handshake[10:] if passes else b"")
    words = "a client of ParaView 5.11 was refused: the server is 5.13.2"
    if passes:
        assert words not in (relay.folder / "events").read_text()
    else:
        wait_until(lambda: words in (relay.folder / "events").read_text(), words, 60)


def test_a_node_without_user_namespaces_is_named_as_the_reason(tmp_path: Path) -> None:
    """The kernel refuses unshare(2) to a process with threads, as it does where they are off."""
    folder = job_script("service.sh").parent
    script = f"cd {folder}; . ./service.sh; network_namespace"
    program = tmp_path / "namespace.py"
    program.write_text(subprocess.check_output(["bash", "-c", script], text=True))
    threaded = (
        "import runpy, sys, threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0])\n"
    )
    argv = [sys.executable, "-c", threaded, str(program), str(tmp_path), "touch", "started"]
    done = subprocess.run(argv, cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 1
    step, why = (tmp_path / "failed").read_text().splitlines()
    assert (step, why) == (
        "app",
        "no network namespace for the service: Invalid argument (user namespaces may be off)",
    )
    assert not (tmp_path / "started").exists()
