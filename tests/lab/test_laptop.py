"""vizdash on a laptop without Slurm that reaches only login's sshd: the verbs."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.desktops import (
    BLUE,
    HOST,
    asks_for_password,
    open_from_laptop,
    type_in_terminal,
    view_from_laptop,
    wait_for_page,
)
from tests.lab.outside import LAPTOP_USER, STRANGER, OutsideNetwork, authorize_key, extra_user, sshd
from tests.lab.verbs import wait_for_state, wait_nothing_left


def start(outside: OutsideNetwork, *words: str) -> dict[str, str]:
    return outside.start(*HOST, "desktop", *words)


def test_start_open_type_and_stop(lab: Lab, outside: OutsideNetwork) -> None:
    nodes = json.loads(outside.vizdash(*HOST, "nodes", "--json").stdout)["nodes"]
    assert [n["name"] for n in nodes] == [n.name for n in lab.nodes]
    session = start(outside)
    with view_from_laptop(outside, session["id"]) as seen:
        type_in_terminal(lab, seen, "From-the-laptop")
        seen.save("desktop-on-the-laptop")
    assert "step websockify" in outside.vizdash(*HOST, "logs", session["id"]).stdout
    outside.vizdash(*HOST, "stop", session["id"])
    assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"
    wait_nothing_left(lab.hosts[session["node"]])
    listed = json.loads(outside.vizdash(*HOST, "sessions", "--json").stdout)["sessions"]
    assert [s["state"] for s in listed if s["id"] == session["id"]] == ["ended"]
    # Nothing of it is left on login, and nothing was installed there.
    deadline = time.monotonic() + 180
    files = "find /tmp -user alice; true"
    while left := lab.login.processes("alice") + lab.login.run(files).stdout:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def test_the_config_names_the_host(lab: Lab, outside: OutsideNetwork) -> None:
    outside.write(".config/vizdash/config.yaml", "clusters:\n  lab: {host: alice@login}\n")
    try:
        found = json.loads(outside.vizdash("nodes", "--json").stdout)
        assert len(found["nodes"]) == 3
    finally:
        outside.run("rm", ".config/vizdash/config.yaml")


def test_the_browser_is_given_a_page_and_no_password(lab: Lab, outside: OutsideNetwork) -> None:
    session = start(outside)
    note = '#!/bin/sh\nprintf \'%s\\n\' "$@" > ~/asked\ncurl -s "$1" >~/.page; mv ~/.page ~/page\n'
    outside.write("browser", note)
    outside.run("chmod", "+x", "browser")
    words = ["env", f"BROWSER=/home/{LAPTOP_USER}/browser", "vizdash", *HOST, "open", session["id"]]
    process = outside.laptop.popen(words, user=LAPTOP_USER)
    try:
        deadline = time.monotonic() + 120
        while not (text := outside.run("sh", "-c", "cat page; true")):
            assert time.monotonic() < deadline, "no browser was started"
            time.sleep(0.2)
        (asked,) = outside.run("cat", "asked").split()
        # A page that works once: a browser with a private /tmp could not read a file.
        host, _, token = asked.partition("/open/")
        assert host.startswith("http://127.0.0.1:") and token
        found = re.search(r'location\.replace\((".*?")\)', text)
        assert found is not None
        url = host + json.loads(found[1])
        assert "password=" not in outside.run("curl", "-s", asked), "the page worked twice"
        with desktop(url, outside.laptop) as seen:
            seen.wait_share(BLUE)
        _no_password_around(outside, lab, url.rpartition("password=")[2])
    finally:
        process.terminate()
        process.communicate(timeout=180)


def _no_password_around(outside: OutsideNetwork, lab: Lab, password: str) -> None:
    assert len(password) >= 8
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true"
    for host in (outside.laptop, lab.login, *lab.nodes):
        output = host.run(look).stdout
        assert "vizdash" in output or host.name.startswith("viz-node")
        assert password not in output, f"the password is in a process of {host.name}"
    find = "find /tmp /run /home /var/tmp -xdev -type f -readable -exec cat {} + 2>/dev/null; true"
    assert password not in outside.laptop.run(find, user=STRANGER).stdout


def test_another_users_browser_is_refused_without_the_password(
    lab: Lab, outside: OutsideNetwork
) -> None:
    session = start(outside)
    with open_from_laptop(outside, session["id"]) as url:
        wait_for_page(outside.laptop, url)
        # Another user of the laptop reaches only the port.
        page = url.partition("#")[0]
        assert "noVNC" in outside.laptop.run(["curl", "-s", page], user=STRANGER).stdout
        assert asks_for_password(url, outside.laptop)
        # A page of another origin can open the WebSocket: the server offers VNC authentication
        # alone (RFC 6143, 7.1.2: type 2), and then a challenge.
        assert _security_types(outside, page) == [2]
        # Another user of the login host finds nothing to connect to.
        sockets = lab.login.run("ss -xlH | grep vizdash; ss -tlnH; true", user="bob").stdout
        for path in re.findall(r"(/\S*vizdash\S*)", sockets):
            ask = f"curl -s --max-time 5 --unix-socket {path} http://x/vnc.html"
            assert lab.login.run(ask, user="bob", check=False).returncode == 7
        listening = {
            row.split()[3].rpartition(":")[2] for row in sockets.splitlines() if ":" in row
        }
        assert listening <= {"22", "6817"}, sockets


_EVIL = """
<!doctype html><script>
const bytes = []; window.types = null;
const socket = new WebSocket("WS", "binary");
socket.binaryType = "arraybuffer";
socket.onmessage = (event) => {
  bytes.push(...new Uint8Array(event.data));
  if (bytes.length == 12) socket.send(new TextEncoder().encode("RFB 003.008\\n"));
  if (bytes.length > 12 && bytes.length == 13 + bytes[12]) window.types = bytes.slice(13);
};
socket.onclose = () => { window.types = window.types || "closed"; };
</script>
"""


def _security_types(outside: OutsideNetwork, page: str) -> object:
    """What a page of another origin is offered."""
    from tests.lab.browser import browser

    socket = page.replace("http:", "ws:").replace("/vnc.html", "/websockify")
    outside.write("evil/index.html", _EVIL.replace("WS", socket))
    command = ["python3", "-m", "http.server", "-b", "127.0.0.1", "-d", "evil", "8666"]
    server = outside.laptop.popen(command, user=LAPTOP_USER)
    try:
        wait_for_page(outside.laptop, "http://127.0.0.1:8666/index.html")
        with browser(outside.laptop) as chromium:
            evil = chromium.new_page()
            evil.goto("http://127.0.0.1:8666/index.html")
            evil.wait_for_function("window.types !== null")
            return evil.evaluate("window.types")
    finally:
        server.terminate()
        server.communicate(timeout=180)


#: Login shells, and what start-up files print where they should be silent.
SHELLS = {
    "fiona": ("/usr/bin/fish", {".config/fish/config.fish": "echo Fish-noise\n"}),
    "tom": ("/bin/tcsh", {".cshrc": "echo Csh-noise\necho -n no-newline\n"}),
    "nora": (
        "/bin/bash",
        {".bashrc": "echo Bash-noise; printf 'no newline'; echo more >&2\n"},
    ),
}


@pytest.mark.parametrize("name", SHELLS)
def test_other_shells_and_noise(lab: Lab, outside: OutsideNetwork, name: str) -> None:
    shell, files = SHELLS[name]
    with extra_user(lab, name, shell, files):
        authorize_key(outside, lab.login, name)
        host = ("--host", f"{name}@login")
        done = outside.vizdash(*host, "nodes", "--json")
        assert len(json.loads(done.stdout)["nodes"]) == 3
        assert "noise" not in done.stdout + done.stderr
        session = outside.start(*host, "desktop")
        assert session["user"] == name
        with view_from_laptop(outside, session["id"], *host) as seen:
            type_in_terminal(lab, seen, "From-another-shell", user=name)
        outside.vizdash(*host, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended", user=name)


def test_one_session_at_a_time_and_a_banner(lab: Lab, outside: OutsideNetwork) -> None:
    (lab.login.root / "etc/banner").write_text("AUTHORISED USERS ONLY\n" * 20)
    outside.trust_host_keys("[login]:2203")
    host = ("--host", "alice@login:2203")
    try:
        with sshd(lab.login, 2203, ["Banner /etc/banner", "MaxSessions 1"]):
            session = outside.start(*host, "desktop")
            done = outside.vizdash(*host, "sessions", "--json")
            assert "AUTHORISED" not in done.stdout
            with view_from_laptop(outside, session["id"], *host):
                pass
            outside.vizdash(*host, "stop", session["id"])
            wait_for_state(lab, session["id"], "ended")
    finally:
        outside.trust_host_keys("login")
