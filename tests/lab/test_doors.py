"""Doors that are shut for other users, and proof that each test can fail: once its protection is
taken away by hand, the same attempt gets in.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.lab import Host, Lab
from tests.lab.outside import reload_sshd
from tests.lab.test_build import LINGER, begin, close, define, send, workshop
from tests.lab.test_doors_of_files import patched_job
from tests.lab.test_isolation import connection, readable_by_others
from tests.lab.verbs import open_session, run_vizdash, start_session
from tests.waiting import wait_until

__all__ = ["workshop"]

NODE = "viz-node002"


@pytest.fixture
def session(lab: Lab, site: None) -> dict[str, str]:
    """A ready session of alice on NODE."""
    found: dict[str, str] = start_session(lab, "plain", "--node", NODE)
    return found


def test_the_sockets_of_a_session(lab: Lab, session: dict[str, str]) -> None:
    node, known = lab.hosts[NODE], connection(lab, session)

    def bob_gets_in() -> bool:
        ask = f"curl -sf --max-time 120 --unix-socket {known['WEB_SOCKET']} http://x/vnc.html"
        return "noVNC" in node.run(ask, user="bob", check=False).stdout

    assert not bob_gets_in()
    node.run(["chmod", "755", known["RUNTIME_DIR"]])
    assert not bob_gets_in(), "the folder alone kept bob out"
    node.run(["chmod", "666", known["WEB_SOCKET"]])
    assert bob_gets_in()


def test_the_display(lab: Lab, session: dict[str, str]) -> None:
    node, known = lab.hosts[NODE], connection(lab, session)
    ask = f"DISPLAY={known['DISPLAY']} timeout 120 xdpyinfo"
    assert node.run(ask, user="bob", check=False).returncode != 0
    cookie = f"{known['RUNTIME_DIR']}/xauth"
    node.run(f"DISPLAY={known['DISPLAY']} XAUTHORITY={cookie} xhost +local:", user="alice")
    assert node.run(ask, user="bob").stdout.startswith("name of display:")


def test_what_others_can_read(lab: Lab, session: dict[str, str]) -> None:
    node, password = lab.hosts[NODE], connection(lab, session)["PASSWORD"]
    assert password not in readable_by_others(node)
    argv = node.popen(["sh", "-c", "read line", password], user="alice")
    try:
        wait_until(lambda: password in readable_by_others(node), "password seen in argv")
    finally:
        argv.communicate(input="\n", timeout=60)
    node.run(f"umask 022; printf %s {password} >/tmp/note", user="alice")
    try:
        assert password in readable_by_others(node), "a password in a file is not seen"
    finally:
        node.run(["rm", "/tmp/note"])


def test_the_folder_of_a_session(lab: Lab, session: dict[str, str]) -> None:
    home, session_folder = "/home/alice", f".local/state/vizdash/sessions/{session['id']}"
    folder = f"{home}/{session_folder}"
    read = ["cat", f"{folder}/connection", f"{folder}/job.log"]
    closed = lab.login.run(read, user="bob", check=False)
    assert (closed.stdout, closed.returncode) == ("", 1)
    path = home
    for part in session_folder.split("/"):
        path = f"{path}/{part}"
        lab.login.run(["chmod", "755", home, path])
    assert lab.login.run(read, user="bob", check=False).stdout == "", (
        "only the folders kept bob out"
    )
    lab.login.run(["chmod", "644", f"{folder}/connection"])
    assert "PASSWORD=" in lab.login.run(read, user="bob", check=False).stdout
    lab.login.run(["chmod", "700", home, f"{home}/.local", f"{home}/.local/state"])


def test_a_tunnel_on_the_login_host(lab: Lab, session: dict[str, str]) -> None:
    def logged_in(session_id: str, *passwords: str) -> list[bool]:
        """Whether bob, who reaches the port of 127.0.0.1, gets in by these or by alice's own."""
        with open_session(lab, session_id) as url:
            port = int(url.partition("/vnc.html")[0].rpartition(":")[2])
            own = url.rpartition("password=")[2]
            return [_vnc_login(lab.login, port, word) for word in (*passwords, own)]

    assert logged_in(session["id"], "", "12345678") == [False, False, True]
    lab.settle()
    with patched_job(lab, "inner.sh", "-SecurityTypes VncAuth", "-SecurityTypes None"):
        opened = start_session(lab, "plain", "--node", NODE)
    assert logged_in(opened["id"], "", "12345678") == [True, True, True]


#: Offers a page until its stdin closes; with ``open``, without the check of who asks for it.
_PAGE = """
import asyncio, sys
from vizdash.transport import redirect_page

if sys.argv[1:] == ["open"]:
    redirect_page.is_ours = lambda *ends: True

async def main():
    listener = redirect_page.OnePage()
    await listener.start()
    print(listener.offer("the-secret"), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await listener.close()

asyncio.run(main())
"""


@contextlib.contextmanager
def redirect_page(host: Host, *words: str) -> Iterator[str]:
    """A page of alice's on a host; yields its address."""
    with host.popen(["/opt/vizdash/bin/python", "-c", _PAGE, *words], user="alice") as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, process.communicate(timeout=60)
            yield address
        finally:
            process.communicate(timeout=60)


def test_the_redirect_page(lab: Lab) -> None:
    def get(address: str, user: str) -> str:
        ask = ["curl", "-s", "--max-time", "20", address]
        return lab.login.run(ask, user=user, check=False).stdout

    with redirect_page(lab.login) as address:
        assert "the-secret" not in get(address, "bob")
        assert get(address, "alice") == "the-secret", "bob's attempt used it up"
        assert "the-secret" not in get(address, "alice"), "it works twice"
    with redirect_page(lab.login, "open") as address:
        assert get(address, "bob") == "the-secret"


def test_the_work_folder_of_a_build(workshop: Lab) -> None:
    login = workshop.login
    define(workshop, LINGER)
    process = begin(workshop, "here")
    try:
        (folder,) = login.run("echo /tmp/vizdash-build.*").stdout.split()

        def read() -> str:
            return login.run(["find", folder, "-name", "*.def"], user="bob", check=False).stdout

        def write() -> int:
            return login.run(["touch", f"{folder}/own"], user="bob", check=False).returncode

        assert read() == ""
        assert write() != 0
        login.run(["chmod", "755", folder])
        assert read() != ""
        assert write() != 0, "the mode alone kept bob out"
        login.run(["chmod", "777", folder])
        assert write() == 0
    finally:
        send(workshop, "INT")
        close(process)


#: A VNC client over a WebSocket (RFC 6455; RFC 6143, 7.1 and 7.2.2): whether a password is taken.
_CLIENT = r"""
import base64, os, socket, struct, subprocess, sys
port, password = int(sys.argv[1]), sys.stdin.read()
s = socket.create_connection(("127.0.0.1", port), 20)
key = base64.b64encode(os.urandom(16)).decode()
s.sendall((f"GET /websockify HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
           f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Protocol: binary\r\n\r\n").encode())
data = b""
while b"\r\n\r\n" not in data:
    data += s.recv(1)
assert b" 101 " in data, data
got = b""
def frame():
    head = exactly(2)
    size = head[1] & 127
    if size == 126:
        size = struct.unpack(">H", exactly(2))[0]
    return exactly(size)
def exactly(n):
    out = b""
    while len(out) < n:
        more = s.recv(n - len(out))
        if not more:
            raise SystemExit("closed")
        out += more
    return out
def read(n):
    global got
    while len(got) < n:
        got += frame()
    out, got = got[:n], got[n:]
    return out
def send(data):
    mask = os.urandom(4)
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
    s.sendall(bytes([0x82, 0x80 | len(data)]) + mask + body)
read(12)
send(b"RFB 003.008\n")
types = read(read(1)[0])
if types == b"\1":
    send(b"\1")
    print(struct.unpack(">I", read(4))[0])
    raise SystemExit
assert types == b"\2", types
send(b"\2")
challenge = read(16)
# VNC reverses the bits of each byte of the key.
secret = (password.encode() + bytes(8))[:8]
key = bytes(int(f"{b:08b}"[::-1], 2) for b in secret)
argv = ["openssl", "enc", "-des-ede3", "-nopad", "-K", (key * 3).hex()]
send(subprocess.run(argv, input=challenge, capture_output=True, check=True).stdout)
print(struct.unpack(">I", read(4))[0])
"""


def _vnc_login(host: Host, port: int, password: str) -> bool:
    done = host.run(["python3", "-c", _CLIENT, str(port)], user="bob", input=password)
    return done.stdout.strip() == "0"


@contextlib.contextmanager
def answers(node: Host, command: str) -> Iterator[None]:
    """A node whose every ssh login gets what ``command`` prints."""
    settings = node.root / "etc/ssh/sshd_config.d/aa-hostile.conf"
    settings.write_text(f"ForceCommand {command}\n")
    reload_sshd(node)
    try:
        yield
    finally:
        settings.unlink()
        reload_sshd(node)


_MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, done.stdout, done.stderr, peak // 1024]))
"""


#: vizdash without a limit to what a node may answer.
_UNLIMITED = """
import sys
from vizdash.images import node_script
from vizdash.cli.program import main
node_script.NODE_ANSWER_LIMIT = 1 << 40
sys.argv[0] = "vizdash"
main()
"""


def measured(
    lab: Lab, *words: str, program: tuple[str, ...] = ("vizdash",)
) -> tuple[int, str, str, int]:
    """A verb's exit code, stdout, stderr and most memory, MiB."""
    argv = ["python3", "-c", _MEASURED, *program, *words]
    code, stdout, stderr, peak = json.loads(lab.login.run(argv, user="alice", timeout=500).stdout)
    return code, stdout, stderr, peak


@pytest.mark.parametrize(
    "command", ["/usr/bin/cat /dev/zero", "/usr/bin/yes", "/usr/bin/head -c 1073741824 /dev/zero"]
)
def test_a_node_that_answers_without_end(lab: Lab, site: None, command: str) -> None:
    _, _, _, usual = measured(lab, "images", "--json")
    with answers(lab.hosts[NODE], command):
        began = time.monotonic()
        got = lab.login.run(f"ssh {NODE} true | head -c 5000 | wc -c", user="alice").stdout
        assert got.strip() == "5000"
        code, stdout, stderr, peak = measured(lab, "images", "--json")
        took_s = time.monotonic() - began
        shown = json.loads(stdout)
        places = {p["node"]: p for p in shown["places"]}
        assert places[NODE]["failure"], shown
        assert all(not place["failure"] for name, place in places.items() if name != NODE)
        figures = f"{peak} MiB, {usual} MiB without it, in {took_s:.0f} s: {stderr}"
        assert peak < usual + 200, figures
        assert run_vizdash(lab, "sessions", "--json").returncode == 0
    assert code in {0, 1}


def test_it_is_the_limit_that_keeps_an_answer_small(lab: Lab, site: None) -> None:
    _, _, _, usual = measured(lab, "images", "--json")
    with answers(lab.hosts[NODE], "/usr/bin/head -c 314572800 /dev/zero"):
        program = ("/opt/vizdash/bin/python", "-c", _UNLIMITED)
        _, _, stderr, peak = measured(lab, "images", "--json", program=program)
    assert peak > usual + 200, f"{peak} MiB, {usual} MiB without it: {stderr}"


#: vizdash that prints names and comments as they are.
_UNESCAPED = """
import sys
from vizdash.util import text
text.escape_control = lambda words: words
text.is_unsafe = lambda char: False
from vizdash.cli.program import main
sys.argv[0] = "vizdash"
main()
"""


def test_a_job_whose_words_are_commands_to_a_terminal(lab: Lab) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J"
    claim = f"vizdash/1 id=aaaaaaaa app=gedit state=ended step=app error={quote(evil, safe='')}"
    submit = ["sbatch", "--parsable", "--job-name", f"vizdash-{evil}gedit", "--wrap", "exit 1"]
    job = lab.login.run([*submit, "--comment", claim], user="bob").stdout.strip()
    wait_until(
        lambda: (
            "FAILED" in lab.login.run(["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"]).stdout
        ),
        "end of the job",
    )
    # The protection is vizdash's own: squeue prints it as it is.
    raw = lab.login.run(["squeue", "-h", "-t", "all", "-o", "%j"]).stdout
    assert "\x1b]0;owned" in raw, raw
    for user in ("root", "alice"):
        shown = run_vizdash(lab, "sessions", "--all", user=user)
        assert "aaaaaaaa" in shown.stdout and r"\x1b]0;owned\x07" in shown.stdout, shown.stdout
        assert "\x1b" not in shown.stdout + shown.stderr
        assert "\x07" not in shown.stdout + shown.stderr
    listed = run_vizdash(lab, "sessions", "--all", "--json", user="root").stdout
    assert "aaaaaaaa" in listed and "\x1b" not in listed
    program = ["/opt/vizdash/bin/python", "-c", _UNESCAPED, "sessions", "--all"]
    assert "\x1b]0;owned\x07" in lab.login.run(program).stdout
