"""Logins that only ssh(1) can do: a Kerberos ticket, a PKCS#11 token, an existing connection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.desktops import HOST, open_from_laptop, wait_for_page
from tests.lab.host import Host
from tests.lab.outside import LAPTOP_USER, OutsideNetwork, closed_nodes, sshd
from tests.lab.terminal import terminal
from tests.lab.test_laptop_dashboard import (
    dashboard,
    holders,
    kill_logins,
    open_by_keys,
    start_by_keys,
    steps,
)
from tests.lab.verbs import wait_for_state

#: Ports that the laptop reaches (campus.SSHD_PORTS): a KDC's, and those of sshds.
_KDC, _GSS, _TOKEN, _OWN = 2288, 2230, 2231, 2232
_PASSWORD, _PIN = "Ticket-Please", "314159"
_MODULE = "/usr/lib/softhsm/libsofthsm2.so"
_KRB5 = f"""[libdefaults]
  default_realm = LAB
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  default_ccache_name = FILE:/tmp/krb5cc_%{{uid}}
[realms]
  LAB = {{
    kdc = login:{_KDC}
  }}
"""
_KDC_CONF = f"""[kdcdefaults]
  kdc_listen = ""
  kdc_tcp_listen = {_KDC}
[realms]
  LAB = {{
    database_name = /var/lib/krb5kdc/principal
    key_stash_file = /etc/krb5kdc/stash
  }}
"""
_REALM = f"""
set -e
kdb5_util create -s -r LAB -P for-the-lab
kadmin.local -q 'addprinc -pw {_PASSWORD} alice'
kadmin.local -q 'addprinc -randkey host/login'
kadmin.local -q 'ktadd -k /etc/krb5.keytab host/login'
"""


@contextlib.contextmanager
def realm(lab: Lab, outside: OutsideNetwork) -> Iterator[Host]:
    """A KDC on login, where host/login and alice are known; LAPTOP_USER has no ticket yet."""
    login = lab.login
    for host in (login, outside.laptop):
        (host.root / "etc/krb5.conf").write_text(_KRB5)
    (login.root / "etc/krb5kdc").mkdir(exist_ok=True)
    (login.root / "etc/krb5kdc/kdc.conf").write_text(_KDC_CONF)
    login.run(f"{_REALM} {{ krb5kdc -P /run/kdc.pid; }}")
    try:
        yield login
    finally:
        login.run(
            "pid=$(cat /run/kdc.pid); kill $pid; while [ -e /proc/$pid ]; do sleep 0.05; done; "
            "kdb5_util destroy -f; rm -f /etc/krb5.keytab"
        )


def kinit(outside: OutsideNetwork) -> None:
    outside.laptop.run(["kinit", "alice"], user=LAPTOP_USER, input=f"{_PASSWORD}\n")


def login_line(outside: OutsideNetwork, *host: str) -> str:
    """What doctor says of the login."""
    done = outside.vizdash(*host, "doctor", check=False)
    (line,) = [row for row in done.stdout.splitlines() if "by OpenSSH" in row or "built-in" in row]
    return line


def test_a_kerberos_ticket(lab: Lab, outside: OutsideNetwork) -> None:
    """Taken where the server takes it; where there is none, it says what is missing."""
    outside.trust_host_keys(f"[login]:{_GSS}", "login")
    host = ("--host", f"alice@login:{_GSS}")
    settings = ("GSSAPIAuthentication yes", "PubkeyAuthentication no")
    try:
        with realm(lab, outside), sshd(lab.login, _GSS, settings):
            done = outside.vizdash(*host, "nodes", check=False)
            assert done.returncode == 1
            assert "kinit" in done.stderr
            kinit(outside)
            # ssh agrees.
            ssh = ("ssh", "-o", "BatchMode=yes", "-p", str(_GSS), "alice@login", "id -un")
            assert outside.run(*ssh) == "alice\n"
            assert "viz-node003" in outside.vizdash(*host, "nodes").stdout
            assert "by OpenSSH: it takes your Kerberos ticket" in login_line(outside, *host)
            # A server that does not offer it needs no ssh(1).
            assert "by the built-in SSH" in login_line(outside, "--host", "alice@login")
    finally:
        outside.run("sh", "-c", "kdestroy -q; true")
        outside.trust_host_keys("login")


_SOFTHSM = "directories.tokendir = {home}/tokens\nobjectstore.backend = file\n"


@pytest.fixture
def token(lab: Lab, outside: OutsideNetwork) -> Iterator[str]:
    """LAPTOP_USER's token with an RSA key; yields the name of a host that accepts only that key."""
    home = f"/home/{LAPTOP_USER}"
    outside.write(".config/softhsm2/softhsm2.conf", _SOFTHSM.format(home=home))
    outside.run("sh", "-c", "rm -rf tokens p11*; mkdir -m 700 tokens")
    outside.run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "", "-f", "p11")
    public = outside.run("cat", "p11.pub")
    label = ("--label", "lab-token")
    outside.run(
        "softhsm2-util", "--init-token", "--free", *label, "--pin", _PIN, "--so-pin", "12345678"
    )
    token = ("--token", "lab-token", "--label", "key", "--id", "01", "--pin", _PIN)
    outside.run("softhsm2-util", "--import", "p11", *token)
    outside.run("rm", "p11", "p11.pub")
    (lab.login.root / "etc/ssh/token_keys").write_text(public)
    outside.write(
        ".ssh/config",
        f"Host token\n  HostName login\n  Port {_TOKEN}\n  User alice\n"
        f"  PKCS11Provider {_MODULE}\n",
    )
    outside.trust_host_keys(f"[login]:{_TOKEN}")
    with sshd(lab.login, _TOKEN, ("AuthorizedKeysFile /etc/ssh/token_keys",)):
        yield "token"
    outside.run("rm", ".ssh/config")
    outside.trust_host_keys("login")


def test_a_pkcs11_token_asks_for_its_pin_once(outside: OutsideNetwork, token: str) -> None:
    command = f"vizdash --host {token} nodes"
    with terminal(outside.laptop, command, user=LAPTOP_USER) as screen:
        seen = screen.wait("PIN of lab-token", seconds=180)
        assert "ssh on this computer asks" in seen
        screen.type(_PIN)
        screen.keys("Enter")
        seen = screen.wait("viz-node003", seconds=180)
        assert seen.count("PIN of") == 1
        assert _PIN not in seen
    # Without a terminal: one line that names the host and the reason for OpenSSH.
    done = outside.vizdash("--host", token, "doctor", check=False)
    assert "there is no terminal to ask you on" in done.stdout
    assert f"by OpenSSH: PKCS11Provider {_MODULE} in the settings of token" in done.stdout


def test_the_users_own_connection_is_shared(lab: Lab, outside: OutsideNetwork) -> None:
    """ControlMaster: no login, and the master stays afterwards."""
    log = lab.login.root / "run/own.log"
    outside.trust_host_keys(f"[login]:{_OWN}")
    outside.write(
        ".ssh/config",
        f"Host own\n  HostName login\n  Port {_OWN}\n  User alice\n  ControlPath ~/.ssh/cm-%C\n",
    )
    with sshd(lab.login, _OWN, log="/run/own.log"):
        outside.run("ssh", "-M", "-f", "-N", "own")
        assert log.read_text().count("Accepted publickey for alice") == 1
        assert "viz-node003" in outside.vizdash("--host", "own", "nodes").stdout
        assert "your own connection at" in login_line(outside, "--host", "own")
        outside.run("ssh", "-O", "check", "own")
        assert log.read_text().count("Accepted publickey for alice") == 1
        outside.run("ssh", "-O", "exit", "own")
    outside.run("rm", ".ssh/config")
    outside.trust_host_keys("login")


@pytest.fixture
def by_openssh(outside: OutsideNetwork) -> None:
    outside.write(".config/vizdash/config.yaml", "clusters:\n  viz: {ssh: openssh}\n")


@pytest.mark.usefixtures("by_openssh")
def test_a_tunnel_outlives_a_black_hole_a_kill_and_the_dashboard(
    lab: Lab, outside: OutsideNetwork
) -> None:
    """The process that is left behind is no parent of ssh's."""
    with dashboard(outside) as screen:
        session = start_by_keys(lab, screen)
        url = open_by_keys(outside, screen)
        wait_for_page(outside.laptop, url, seconds=180)
        with lab.cut(outside.laptop):
            screen.wait("no connection", seconds=180)
        screen.wait("is back after", seconds=180)
        wait_for_page(outside.laptop, url, seconds=180)
        screen.wait("is back after", gone=True, seconds=180)
        kill_logins(lab, "^sshd-session: alice")
        screen.wait("is back after", seconds=180)
        wait_for_page(outside.laptop, url, seconds=180)
        screen.keys("q")
        screen.wait("Quit vizdash?", seconds=180)
        screen.keys("k")
        screen.wait_ended(180)
        assert screen.code() == 0
        assert len(holders(outside)) == 1
        wait_for_page(outside.laptop, url, seconds=180)
    outside.vizdash(*HOST, "stop", session["id"])
    deadline = time.monotonic() + 120
    files = f"find /tmp -user {LAPTOP_USER} -name 'vizdash-*'; true"

    def left() -> str:
        running = outside.laptop.processes(LAPTOP_USER)
        own = [line for line in running.splitlines() if "ssh" in line or "bin/vizdash" in line]
        return outside.laptop.run(files).stdout + "\n".join(own)

    while what := left():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


@pytest.mark.usefixtures("by_openssh")
def test_nodes_that_take_no_ssh(lab: Lab, outside: OutsideNetwork) -> None:
    """The srun route over the one connection of ssh's."""
    with closed_nodes(lab):
        session = outside.start(*HOST, "desktop")
        with open_from_laptop(outside, session["id"]) as url:
            wait_for_page(outside.laptop, url, seconds=180)
            assert len(steps(lab, session)) == 1
        outside.vizdash(*HOST, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended", seconds=180)
