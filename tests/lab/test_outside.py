"""The network outside the cluster works as described: checked with ssh(1), without vizdash."""

from __future__ import annotations

import time

from tests.lab.one_time_codes import code, otp_sshd
from tests.lab.outside import (
    ALIAS,
    OutsideNetwork,
    authorize_key,
    closed_nodes,
    extra_user,
    jump_host,
    second_login,
    sshd,
)
from tests.lab.terminal import terminal

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=120")


def test_the_laptop_reaches_logins_sshd_alone(outside: OutsideNetwork) -> None:
    assert outside.run(*SSH, "alice@login", "hostname; id -un").split() == ["login", "alice"]
    assert outside.run("sh", "-c", "command -v sinfo squeue sbatch; true") == ""
    assert outside.vizdash("--version").stdout
    tried = (
        "for a in 10.77.0.10/6817 10.78.0.10/6817 10.78.0.10/111 10.77.0.11/22; do "
        'timeout 3 bash -c "</dev/tcp/$a" 2>/dev/null && echo $a; done; true'
    )
    assert outside.run("bash", "-c", tried) == ""


def test_the_nodes_do_not_know_the_laptops_key(outside: OutsideNetwork) -> None:
    forwarded = [*SSH, "-J", "alice@login", "-o", "StrictHostKeyChecking=no"]
    tried = outside.laptop.run([*forwarded, "alice@viz-node001", "true"], user="lena", check=False)
    assert "Permission denied" in tried.stderr
    assert outside.run(*SSH, "alice@login", "ssh viz-node001 hostname") == "viz-node001\n"


def test_a_jump_host_leads_inside(outside: OutsideNetwork) -> None:
    with jump_host(outside):
        outside.trust_host_keys("jump", "10.77.0.10")
        assert outside.run(*SSH, "-J", "alice@jump", "alice@10.77.0.10", "hostname") == "login\n"
        direct = outside.laptop.run([*SSH, "alice@10.77.0.10", "true"], user="lena", check=False)
        assert direct.returncode == 255
    outside.trust_host_keys("login")


def test_a_code_is_asked_after_the_key_and_works_once(outside: OutsideNetwork) -> None:
    login = ["ssh", "-p", "2202", "alice@login", "echo In-the-shell"]
    outside.trust_host_keys("[login]:2202")
    with otp_sshd(outside.lab.login, 2202) as secret:
        digits = code(secret)
        with terminal(outside.laptop, login, user="lena") as screen:
            screen.wait("Verification code")
            screen.type(digits)
            screen.keys("Enter")
            screen.wait("In-the-shell")
        with terminal(outside.laptop, login, user="lena") as screen:
            screen.wait("Verification code")
            screen.type(digits)
            screen.keys("Enter")
            screen.until(lambda seen: seen.count("Verification code") == 2, "taken twice")
            assert "In-the-shell" not in screen.text()
    outside.trust_host_keys("login")


def test_nodes_closed_to_users_take_srun_alone(outside: OutsideNetwork) -> None:
    login = outside.lab.login
    try_it = [*SSH, "viz-node001", "true"]
    with closed_nodes(outside.lab):
        assert "Permission denied" in login.run(try_it, user="alice", check=False).stderr
        assert login.run(["srun", "-w", "viz-node001", "hostname"], user="alice").stdout
    assert login.run(try_it, user="alice").returncode == 0


def test_two_login_hosts_behind_one_name(outside: OutsideNetwork) -> None:
    with second_login(outside) as second:
        outside.trust_host_keys("login", "login2", ALIAS)
        assert outside.run(*SSH, "alice@login2", "hostname; sinfo -h -o %P").split()[0] == "login2"
        found = outside.run("getent", "ahostsv4", ALIAS)
        assert {line.split()[0] for line in found.splitlines()} == {"10.78.0.10", "10.78.0.11"}
        assert second.run(["squeue", "-h"], user="alice").returncode == 0
    outside.trust_host_keys("login")


def test_shells_that_are_not_posix_and_noise(outside: OutsideNetwork) -> None:
    with extra_user(
        outside.lab, "fiona", "/usr/bin/fish", {".config/fish/config.fish": "echo Fish-noise\n"}
    ) as name:
        authorize_key(outside, outside.lab.login, name)
        assert outside.run(*SSH, f"{name}@login", "echo $version").split()[0] == "Fish-noise"
    with extra_user(outside.lab, "tom", "/bin/tcsh", {".cshrc": "echo Csh-noise\n"}) as name:
        authorize_key(outside, outside.lab.login, name)
        assert "Csh-noise" in outside.run(*SSH, f"{name}@login", "echo $tcsh")


def test_banner_one_session_and_another_host_key(outside: OutsideNetwork) -> None:
    login = outside.lab.login
    (login.root / "etc/banner").write_text("AUTHORISED USERS ONLY\n")
    outside.trust_host_keys("[login]:2203")
    with sshd(login, 2203, ["Banner /etc/banner", "MaxSessions 1"]):
        tried = outside.laptop.run([*SSH, "-p", "2203", "alice@login", "true"], user="lena")
        assert "AUTHORISED" in tried.stderr
    with sshd(login, 2203, key="/etc/ssh/other_key"):
        tried = outside.laptop.run(
            [*SSH, "-p", "2203", "alice@login", "true"], user="lena", check=False
        )
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in tried.stderr
    outside.trust_host_keys("login")


def test_a_cut_link_swallows_everything_and_comes_back(outside: OutsideNetwork) -> None:
    count = "for i in $(seq 1000); do echo $i; sleep 0.2; done"
    process = outside.laptop.popen([*SSH, "alice@login", count], user="lena")
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    with outside.lab.cut(outside.laptop):
        time.sleep(1)
        brief = ["ssh", "-o", "ConnectTimeout=5", *SSH[1:]]  # of two values the first one counts
        tried = outside.laptop.run([*brief, "alice@login", "true"], user="lena", check=False)
        assert "timed out" in tried.stderr
    # TCP sends again what was lost: nothing but time is missing.
    assert [process.stdout.readline() for _ in range(40)][-1] == "41\n"
    process.kill()
    process.communicate()
