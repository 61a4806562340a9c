"""A session as an SSH host: everything runs inside its job, and nothing of it is left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab
from tests.lab.desktops import HOST
from tests.lab.outside import LAPTOP_USER, OutsideNetwork, closed_nodes
from tests.lab.verbs import run_vizdash, start_session, wait_for_state, wait_nothing_left

NODE = "viz-node002"
#: Bytes that are copied each way; enough for many windows of SSH's flow control.
_MIB = 20
_PORT = 19222
#: What VS Code's Remote - SSH does first: a script on the stdin of `ssh -T -D PORT HOST sh` starts
#: a server that is detached from the connection, and prints where it listens.
_SERVER = r"""
set -e
mkdir -p "$HOME/.editor-server"
cat >"$HOME/.editor-server/server.py" <<'EOT'
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{os.getpid()} {os.environ['SLURM_JOB_ID']}".encode())
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open(os.path.expanduser("~/.editor-server/port"), "w") as file:
    file.write(str(server.server_address[1]))
server.serve_forever()
EOT
rm -f "$HOME/.editor-server/port"
nohup setsid python3 "$HOME/.editor-server/server.py" </dev/null >/dev/null 2>&1 &
until [ -s "$HOME/.editor-server/port" ]; do sleep 0.1; done
echo "listeningOn==$(cat "$HOME/.editor-server/port")=="
exec sleep 600
"""


def _sh(lab: Lab, script: str, user: str = "alice", *, check: bool = True) -> str:
    return lab.login.run(script, user=user, check=check).stdout


@contextlib.contextmanager
def _included(lab: Lab) -> Iterator[None]:
    """Host entries in alice's settings of ssh, as ``ssh-config`` says to add them."""
    _sh(lab, "cp -p ~/.ssh/config ~/.ssh/kept 2>/dev/null; true")
    output = run_vizdash(lab, "ssh-config", "--write").stderr
    assert "Include vizdash_config" in output
    include = "echo Include vizdash_config; cat ~/.ssh/kept 2>/dev/null"
    _sh(lab, f"umask 077; {{ {include}; true; }} >~/.ssh/config")
    try:
        yield
    finally:
        _sh(lab, "cd ~/.ssh && rm -f config vizdash_config; [ ! -e kept ] || mv kept config")


@pytest.fixture
def copies(lab: Lab) -> Iterator[str]:
    """A file of alice's with random content."""
    _sh(lab, f"mkdir -p ~/copies && head -c {_MIB}M /dev/urandom >~/copies/sent")
    yield "copies/sent"
    _sh(lab, "rm -rf ~/copies ~/.editor-server")


def test_a_shell_in_the_job_copies_and_an_editor_s_server(lab: Lab, copies: str) -> None:
    session = start_session(lab, "desktop", "--node", NODE)
    id, node = session["id"], lab.hosts[NODE]
    listening = node.run("ss -tlnH").stdout
    _needs_sshd_on_the_node(lab, id, node)
    _runs_in_the_job(lab, session)
    assert node.run("ss -tlnH").stdout == listening
    _is_refused_to_others(lab, id, node)
    with _included(lab):
        _copies_both_ways(lab, id, copies)
        _editor_server_survives_a_reconnect(lab, f"vizdash-{id}", session["job_id"])
    run_vizdash(lab, "stop", id)
    wait_for_state(lab, id, "ended")
    wait_nothing_left(node)
    kept = _sh(lab, f"ls -A ~/.local/state/vizdash/sessions/{id}").split()
    assert "status" in kept
    assert "ssh" not in kept
    refused = run_vizdash(lab, "ssh", id, "true", check=False)
    assert refused.returncode in {1, 2}
    assert "ssh" not in _sh(lab, f"ls -A ~/.local/state/vizdash/sessions/{id}").split()


def _needs_sshd_on_the_node(lab: Lab, id: str, node: Host) -> None:
    node.run("mv /usr/sbin/sshd /usr/sbin/sshd.away")
    try:
        refused = run_vizdash(lab, "ssh", id, "true", check=False)
    finally:
        node.run("mv /usr/sbin/sshd.away /usr/sbin/sshd")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith(
        f"takes no logins: there is no sshd on {NODE}: install openssh-server"
    )


def _runs_in_the_job(lab: Lab, session: dict[str, str]) -> None:
    id = session["id"]
    command = "hostname; echo $SLURM_JOB_ID; umask; xdpyinfo | head -n 1; exit 7"
    output = run_vizdash(lab, "ssh", id, command, check=False)
    assert output.returncode == 7, output.stderr
    host, job, umask, display = output.stdout.splitlines()
    assert (host, job, umask) == (NODE, session["job_id"], _sh(lab, "umask").strip())
    assert display.startswith("name of display:")
    typed = f"script -qec 'vizdash ssh {id}' /dev/null <<< 'tty; exit'"
    assert "/dev/pts/" in _sh(lab, typed)


def _is_refused_to_others(lab: Lab, id: str, node: Host) -> None:
    output = run_vizdash(lab, "ssh", id, "true", user="bob", check=False)
    assert output.returncode == 2
    assert "there is no such session of yours" in output.stderr
    socket = node.run(f"echo /tmp/vizdash-{id}.*/ssh/s").stdout.strip()
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect({socket!r})"
    assert node.run(["python3", "-c", connect], user="alice").returncode == 0
    refused = node.run(["python3", "-c", connect], user="bob", check=False)
    assert "Permission denied" in refused.stderr


def _copies_both_ways(lab: Lab, id: str, file: str) -> None:
    host, there = f"vizdash-{id}", f"/tmp/copies-{id}"
    _sh(lab, f"ssh {host} mkdir {there}")
    # Only the node has its /tmp.
    _sh(lab, f"rsync -a {file} {host}:{there}/a && rsync -a {host}:{there}/a copies/by-rsync")
    batch = f"put {file} {there}/b\nget {there}/b copies/by-sftp\n"
    lab.login.run(["sftp", "-b", "-", host], user="alice", input=batch)
    run_vizdash(lab, "put", id, "/home/alice/copies", "--to", there)
    run_vizdash(lab, "get", id, f"{there}/copies/by-sftp", "--to", "/home/alice/copies")
    sums = _sh(lab, "cd ~/copies && sha256sum *").splitlines()
    assert {line.split()[1] for line in sums} == {"sent", "by-rsync", "by-sftp"}
    assert len({line.split()[0] for line in sums}) == 1
    there_sums = _sh(lab, f"ssh {host} 'cd {there} && sha256sum a b copies/sent'").splitlines()
    assert {line.split()[0] for line in there_sums} == {sums[0].split()[0]}
    _sh(lab, f"ssh {host} rm -r {there}")


def _editor_server_survives_a_reconnect(lab: Lab, host: str, job_id: str) -> None:
    with _connected(lab, host, _SERVER) as port:
        page = f"curl -s --socks5-hostname 127.0.0.1:{_PORT} http://127.0.0.1:{port}/"
        pid, job = _sh(lab, page).split()
    assert job == job_id
    same = "echo listeningOn==$(cat ~/.editor-server/port)==; exec sleep 600\n"
    with _connected(lab, host, same) as again:
        assert again == port
        assert _sh(lab, page).split() == [pid, job_id]


def test_from_a_laptop_to_nodes_that_take_no_ssh(lab: Lab, outside: OutsideNetwork) -> None:
    keys = f"/home/{LAPTOP_USER}/.local/state/vizdash/ssh"
    with closed_nodes(lab):
        session = outside.start(*HOST, "desktop")
        id, node = session["id"], lab.hosts[session["node"]]
        fields = outside.vizdash(*HOST, "ssh", id, "hostname; echo $SLURM_JOB_ID").stdout.split()
        assert fields == [node.name, session["job_id"]]
        outside.vizdash(*HOST, "ssh-config", "--write")
        outside.write(".ssh/config", "Include vizdash_config\n")
        copy = f"vizdash-{id}:/tmp/copy-{id}"
        script = (
            f"head -c {_MIB}M /dev/urandom >sent && rsync -a sent {copy} && rsync -a {copy} back"
            " && cmp sent back && sha256sum <sent; rm -f sent back"
        )
        sent = outside.run("bash", "-c", script)
        assert node.run(f"sha256sum </tmp/copy-{id}; rm /tmp/copy-{id}").stdout == sent
        assert outside.run("ls", keys).split() == [id]
        assert outside.run("stat", "-c", "%a", f"{keys}/{id}").strip() == "700"
        outside.vizdash(*HOST, "stop", id)
        wait_for_state(lab, id, "ended")
        assert outside.run("ls", keys) == ""
        wait_nothing_left(node)


_LOCAL = """\
clusters:
  here: {engine: local}
apps:
  plain:
    runtime: host
    host_command: "exec openbox --startup xterm"
    resources: {cores: 1, memory: 256M, time: 1h}
"""


def test_a_session_without_slurm(lab: Lab) -> None:
    """On the login host, by the local engine: the same without a job step."""
    config = ("--config", "/home/alice/local.yaml")
    lab.login.run("cat >~/local.yaml", user="alice", input=_LOCAL)
    id = run_vizdash(lab, *config, "start", "plain", "--wait").stdout.strip()
    try:
        command = "printenv VIZDASH_SESSION_ID; setsid -f sleep 777 >/dev/null 2>&1 </dev/null"
        output = run_vizdash(lab, *config, "ssh", id, command)
        assert output.stdout.split() == [id]
        _sh(lab, "pgrep -u alice -f 'sleep 777'")
    finally:
        run_vizdash(lab, *config, "stop", id)
        lab.login.run(["rm", "local.yaml"], user="alice")
    wait_nothing_left(lab.login)
    assert "ssh" not in _sh(lab, f"ls -A ~/.local/state/vizdash/sessions/{id}").split()


@contextlib.contextmanager
def _connected(lab: Lab, host: str, script: str) -> Iterator[str]:
    """`ssh -T -D` with a script on its stdin; yields the port that the script prints."""
    with lab.login.popen(["ssh", "-T", "-D", str(_PORT), host, "sh"], user="alice") as process:
        assert process.stdin and process.stdout and process.stderr
        try:
            process.stdin.write(script)
            process.stdin.close()
            line = process.stdout.readline()
            assert line.startswith("listeningOn=="), process.stderr.read()
            yield line.strip().removeprefix("listeningOn==").removesuffix("==")
        finally:
            process.terminate()
            free = f"until [ -z \"$(ss -tlnH 'sport = :{_PORT}')\" ]; do sleep 0.05; done"
            lab.login.run(free)
