"""vizdash on a login node, the browser on a laptop: the printed command line works as it is."""

from __future__ import annotations

import base64
import contextlib
import re
import shlex
import time
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab
from tests.lab.browser import Desktop, desktop
from tests.lab.desktops import BLUE, type_in_terminal, wait_for_page
from tests.lab.outside import ALIAS, LAPTOP_USER, STRANGER, OutsideNetwork, second_login
from tests.lab.terminal import terminal
from tests.lab.verbs import start_session
from tests.waiting import wait_until

#: How a user logs in and starts vizdash.
OPEN = "ssh -o BatchMode=yes {host} vizdash open {id}"


@contextlib.contextmanager
def handed(outside: OutsideNetwork, host: str, session_id: str) -> Iterator[tuple[str, str]]:
    """The line and the address that ``vizdash open`` gives over a login, while it holds."""
    command = shlex.split(OPEN.format(host=host, id=session_id))
    process = outside.laptop.popen(command, user=LAPTOP_USER)
    assert process.stdout is not None and process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        lines = [process.stderr.readline() for _ in range(3)]
        yield lines[1].strip(), url
    finally:
        process.terminate()
        process.communicate(timeout=180)


@contextlib.contextmanager
def pasted(laptop: Host, line: str) -> Iterator[None]:
    """The line, run in a shell of the laptop as it stands."""
    process = laptop.popen(["sh", "-c", f"exec {line}"], user=LAPTOP_USER)
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=180)


@contextlib.contextmanager
def seen_on(laptop: Host, line: str, url: str) -> Iterator[Desktop]:
    """The desktop in the laptop's browser."""
    with pasted(laptop, line):
        wait_for_page(laptop, url)
        with desktop(url, laptop) as seen:
            seen.wait_share(BLUE)
            yield seen


def test_the_line_as_printed_opens_the_desktop(lab: Lab, outside: OutsideNetwork) -> None:
    session = start_session(lab, "desktop")
    with handed(outside, "alice@login", session["id"]) as (line, url):
        assert re.fullmatch(r"ssh -N -L \d+:/tmp/vizdash-\w+/s alice@login", line)
        with seen_on(outside.laptop, line, url) as seen:
            type_in_terminal(lab, seen, "From-the-laptop")
        _nobody_elses(lab, outside, line, url)
    # The login has ended, and nothing of it is left.
    deadline = time.monotonic() + 180
    files = "find /tmp -user alice; true"
    while left := lab.login.processes("alice") + lab.login.run(files).stdout:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def _nobody_elses(lab: Lab, outside: OutsideNetwork, line: str, url: str) -> None:
    """Other users of either host do not reach the socket, and find no password."""
    socket = line.partition(":")[2].partition(" ")[0]
    ask = f"curl -s --max-time 120 --unix-socket {socket} http://x/vnc.html"
    assert lab.login.run(ask, user="alice").stdout
    assert lab.login.run(ask, user="bob", check=False).returncode == 7
    assert lab.login.run("ss -tlnH | grep 127.0.0.1; true").stdout == ""
    password = url.rpartition("password=")[2]
    assert len(password) >= 8
    everything = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true"
    for host, user in ((lab.login, "root"), (outside.laptop, "root"), (outside.laptop, STRANGER)):
        output = host.run(everything, user=user).stdout
        assert output
        assert password not in output


def test_the_dashboard_hands_over_the_same_line(lab: Lab, outside: OutsideNetwork) -> None:
    session = start_session(lab, "desktop")
    login = ["ssh", "-t", "alice@login", "vizdash"]
    with terminal(outside.laptop, login, user=LAPTOP_USER, size=(80, 24)) as screen:
        screen.wait("viz-node001")
        screen.keys("2")
        screen.wait(session["id"][:6], session["job_id"])
        screen.keys("o")
        screen.until(lambda text: _read(text) is not None, "the line and the address")
        line, url = _read(screen.text()) or ("", "")
        with seen_on(outside.laptop, line, url):
            pass
        # The port is taken on the laptop: the next one.
        screen.keys("p")
        before = {line, url}
        screen.until(
            lambda text: (now := _read(text)) is not None and before.isdisjoint(now), "another port"
        )
        line, url = _read(screen.text()) or ("", "")
        with seen_on(outside.laptop, line, url):
            pass
        screen.keys("Escape")
        screen.wait("Open in a browser on your computer", gone=True)
        screen.keys("q")
        screen.wait("Quit vizdash?")
        screen.keys("y")
        screen.wait_ended()
        assert screen.code() == 0


def _read(shown: str) -> tuple[str, str] | None:
    """The line and the address in a dialog, whose borders and wraps are taken away; None where it
    does not show both.
    """
    rows = [row.partition("│")[2].rpartition("│")[0].strip() for row in shown.splitlines()]
    text = "\n".join(rows)
    line = re.search(r"ssh -N (?:.|\n)*?alice@\S+", text)
    url = re.search(r"http://127(?:.|\n)*?password=\S+", text)
    if line is None or url is None:
        return None
    return " ".join(line[0].split()), "".join(url[0].split())


def test_with_two_login_hosts_the_line_names_the_one_that_holds_it(
    lab: Lab, outside: OutsideNetwork
) -> None:
    session = start_session(lab, "desktop")
    with second_login(outside):
        outside.trust_host_keys("login", "login2", ALIAS)
        # The alias leads to the other host first: a line that named it would find no socket.
        for host, other in (("login2", "login"), ("login", "login2")):
            _alias(outside, other, host)
            with handed(outside, f"alice@{host}", session["id"]) as (line, url):
                assert line.endswith(f"alice@{host}")
                with seen_on(outside.laptop, line, url):
                    pass
                wrong = line.replace(f"@{host}", f"@{ALIAS}")
                with pasted(outside.laptop, wrong), pytest.raises(AssertionError):
                    wait_for_page(outside.laptop, url, seconds=20)
        outside.trust_host_keys("login")


def _alias(outside: OutsideNetwork, first: str, second: str) -> None:
    names = outside.laptop.root / "etc/hosts"
    kept = [row for row in names.read_text().splitlines() if not row.endswith(f"\t{ALIAS}")]
    addresses = {row.split()[1]: row.split()[0] for row in kept}
    more = [f"{addresses[name]}\t{ALIAS}" for name in (first, second)]
    names.write_text("\n".join([*kept, *more]) + "\n")


def test_the_sites_own_name_for_the_login_host(lab: Lab, outside: OutsideNetwork) -> None:
    session = start_session(lab, "desktop")
    place = lab.login.root / "etc/vizdash"
    place.mkdir()
    text = "clusters:\n  lab:\n    handoff_host: '{host}.hpc.example.org'\n"
    (place / "config.yaml").write_text(text)
    try:
        with handed(outside, "alice@login", session["id"]) as (line, _):
            assert line.endswith(" alice@login.hpc.example.org")
    finally:
        (place / "config.yaml").unlink()
        place.rmdir()


def test_a_helper_of_the_users_opens_it_and_sees_no_password(
    lab: Lab, outside: OutsideNetwork
) -> None:
    """As in an editor's terminal: $BROWSER names a script that opens addresses elsewhere, and the
    port is led there.
    """
    session = start_session(lab, "desktop")
    helper = "#!/bin/sh\nprintf '%s\\n' \"$@\" > ~/asked\n"
    lab.login.run("cat > ~/helper; chmod +x ~/helper; rm -f ~/asked", user="alice", input=helper)
    command = f"BROWSER=~/helper vizdash open {session['id']}"
    process = outside.laptop.popen(["ssh", "alice@login", command], user=LAPTOP_USER)
    try:
        deadline = time.monotonic() + 120
        while not (asked := lab.login.run("cat ~/asked; true", user="alice").stdout.split()):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        (address,) = asked
        assert "password" not in address
        port = address.removeprefix("http://127.0.0.1:").partition("/")[0]
        # Another user of login may see the address in a list of processes: it is not for them.
        theirs = lab.login.run(["curl", "-s", address], user="bob").stdout
        assert "works once" in theirs
        # An editor leads the port to the laptop, perhaps under another number.
        line = f"ssh -N -L 24680:127.0.0.1:{port} alice@login"
        with pasted(outside.laptop, line):
            wait_for_page(outside.laptop, "http://127.0.0.1:24680/vnc.html")
            with desktop(address.replace(f":{port}/", ":24680/"), outside.laptop) as seen:
                seen.wait_share(BLUE)
    finally:
        process.terminate()
        process.communicate(timeout=180)


def test_the_link_is_a_link_and_the_line_is_copied(lab: Lab) -> None:
    """On a terminal: OSC 8 around the address, OSC 52 with the line in base64."""
    session = start_session(lab, "desktop")
    shown = lab.login.root / "home/alice/shown"
    command = f"exec script -qfec 'vizdash open {session['id']}' ~/shown"
    process = lab.login.popen(command, user="alice")

    def find(pattern: str) -> re.Match[str] | None:
        return re.search(pattern, shown.read_text() if shown.exists() else "")

    line, url, copied = (
        r"ssh -N -L \S+ \S+",
        r"\x1b\]8;;(http://127[^\x1b]+)\x1b\\([^\x1b]+)\x1b\]8;;\x1b\\",
        r"\x1b\]52;c;([A-Za-z0-9+/=]+)\x07",
    )
    try:
        wait_until(lambda: all(map(find, (line, url, copied))), "line, address and copy")
        text, address, code = find(line), find(url), find(copied)
        assert text is not None and address is not None and code is not None
        assert address[1] == address[2]
        assert base64.b64decode(code[1]).decode() == text[0].strip()
    finally:
        process.terminate()
        process.communicate(timeout=180)
        shown.unlink(missing_ok=True)
