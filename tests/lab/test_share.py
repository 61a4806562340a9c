"""Alice shares her desktop with bob: what he sees, what his keys do, and how it ends."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.lab.browser import Desktop, desktop
from tests.lab.desktops import BLUE, asks_for_password, type_in_terminal
from tests.lab.outside import (
    LAPTOP_USER,
    OutsideNetwork,
    authorize_key,
    closed_nodes,
    extra_user,
    second_login,
)
from tests.lab.verbs import (
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_nothing_left,
)
from tests.vizdash_command import printed_address
from tests.waiting import wait_until

#: A viewer without manners: it types although it was told that it may only watch. Waits until the
#: desktop has answered what was sent after the keys. Arguments: port and text; stdin: the password.
_TYPE = """
import asyncio, struct, sys
from vizdash.sessions.rfb import RfbClient
from vizdash.transport.websocket import through_websocket
async def main(port, text):
    dial = through_websocket(lambda: asyncio.open_connection("127.0.0.1", port))
    client = await RfbClient.connect(dial, sys.stdin.read().strip())
    for sign in text + "\\n":
        key = 0xFF0D if sign == "\\n" else ord(sign)
        for down in (1, 0):
            client._writer.write(struct.pack(">BBxxI", 4, down, key))
    await client.ask(whole=True)
    await client.update()
    await client.close()
asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""
_FOLDERS = "find /tmp /dev/shm -maxdepth 1 -name 'vizdash-share-*'"


@contextlib.contextmanager
def sharing(
    lab: Lab, *words: str, host: Host | None = None, user: str = "alice"
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """``vizdash share`` while it runs, and what it prints on stderr."""
    process = (host or lab.login).popen(["vizdash", *words], user=user)
    assert process.stderr is not None and process.stdout is not None
    said = [process.stderr.readline()]
    stderr = process.stderr
    reader = threading.Thread(target=lambda: said.extend(stderr), daemon=True)
    reader.start()
    try:
        assert "vizdash join" in said[0], said
        yield process, said
    finally:
        process.terminate()
        process.wait(timeout=120)
        reader.join(timeout=180)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def joined(
    host: Host, *words: str, user: str = "bob"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``vizdash join --print`` while it runs: the address, and the process."""
    process = host.popen(["vizdash", *words, "--print"], user=user)
    with printed_address(process) as url:
        yield url, process


def types(host: Host, url: str, text: str, user: str = "bob") -> None:
    """Type by the port of an address, whatever noVNC would do."""
    port, password = url.partition("/vnc.html")[0].rpartition(":")[2], _password(url)
    argv = ["/opt/vizdash/bin/python3", "-c", _TYPE, port, text]
    host.run(argv, user=user, input=password)


def _password(url: str) -> str:
    return url.partition("password=")[2].partition("&")[0]


def shares(lab: Lab) -> list[dict[str, Any]]:
    """What alice shares from the login host."""
    found: list[dict[str, Any]] = json.loads(run_vizdash(lab, "share", "--json").stdout)["shares"]
    return found


def _viewers(lab: Lab, session_id: str, count: int) -> None:
    def is_counted() -> bool:
        found = next(s for s in list_sessions(lab) if s["id"] == session_id)
        return bool(found["viewers"] == count)

    wait_until(is_counted, f"{count} viewers", 180)


def _disconnected(seen: Desktop) -> bool:
    look = "document.documentElement.classList.contains('noVNC_connected')"
    return not seen.page.evaluate(look)


def _exists(lab: Lab, file: str) -> bool:
    return lab.login.run(["test", "-e", f"/home/alice/{file}"], check=False).returncode == 0


@pytest.fixture
def session(lab: Lab) -> Iterator[str]:
    """A ready session of alice's."""
    found = start_session(lab, "desktop", "--memory", "1G")
    lab.login.run("rm -f by-bob by-alice typed", user="alice")
    yield found["id"]
    run_vizdash(lab, "stop", found["id"], check=False)
    lab.login.run("rm -f by-bob by-alice typed", user="alice")


def test_bob_sees_the_desktop_and_his_keys_do_nothing(lab: Lab, session: str) -> None:
    with (
        sharing(lab, "share", session, "--with", "bob") as (_, said),
        joined(lab.login, "join", session) as (url, _joining),
        desktop(url, lab.login) as bob,
    ):
        assert said[0] == (
            f"vizdash: bob may watch desktop {session}, with this on login: "
            f"vizdash join {session}\n"
        )
        bob.wait_share(BLUE)
        _viewers(lab, session, 1)
        (share,) = shares(lab)
        assert (share["guest"], share["control"], share["watching"]) == ("bob", False, 1)
        (row,) = (one for one in list_sessions(lab) if one["id"] == session)
        assert row["watched_by"] == ["bob"]
        assert "viewed (bob)" in run_vizdash(lab, "sessions").stdout
        shown = "shown on the desktop: Message: bob is watching this desktop"
        wait_until(lambda: shown in run_vizdash(lab, "logs", session).stdout, "a message", 180)
        with open_session(lab, session) as mine, desktop(mine, lab.login) as alice:
            alice.wait_share(BLUE)
            with bob.changes((0, 0, 1280, 720), least=0.001):
                type_in_terminal(lab, alice, "she-types-and-he-sees")
            bob.click(300, 200)
            bob.type("touch by-bob\n")
            types(lab.login, url, "touch by-bob")
            # What she types now comes after what he has sent.
            alice.click(300, 200)
            alice.type("touch by-alice\n")
            wait_until(lambda: _exists(lab, "by-alice"), "her keys", 180)
            assert not _exists(lab, "by-bob")
        assert asks_for_password(url.replace("&view_only=1", ""), lab.login)
    assert shares(lab) == []
    assert lab.login.run(_FOLDERS).stdout == ""


def test_with_control_his_keys_arrive(lab: Lab, session: str) -> None:
    with (
        sharing(lab, "share", session, "--with", "bob", "--control") as (_, said),
        joined(lab.login, "join", session) as (url, _joining),
        desktop(url, lab.login) as bob,
    ):
        assert "bob may use desktop" in said[0]
        bob.wait_share(BLUE)
        type_in_terminal(lab, bob, "he-types")
        types(lab.login, url, "touch by-bob")
        wait_until(lambda: _exists(lab, "by-bob"), "his keys", 180)


def test_another_user_is_refused(lab: Lab, session: str) -> None:
    with (
        extra_user(lab, "carol", "/bin/bash", {}),
        sharing(lab, "share", session, "--with", "bob"),
    ):
        refused = run_vizdash(lab, "join", session, user="carol", check=False)
        assert refused.returncode == 1
        assert f"session {session}: nobody shares it with you" in refused.stderr
        assert json.loads(run_vizdash(lab, "join", "--json", user="carol").stdout)["offers"] == []
        (offer,) = json.loads(run_vizdash(lab, "join", "--json", user="bob").stdout)["offers"]
        assert (offer["session"], offer["owner"], offer["app"]) == (session, "alice", "desktop")
        folder = lab.login.run(_FOLDERS).stdout.strip()
        assert lab.login.run(["stat", "-c", "%a %U", folder]).stdout == "711 alice\n"
        for user, answered in (("carol", False), ("alice", False), ("bob", True)):
            for door in ("s", "ask"):
                ask = (
                    "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(180);"
                    f" s.connect('{folder}/{door}');"
                    " s.send(b'GET /vnc.html HTTP/1.0\\r\\n\\r\\n'); print(len(s.recv(9)))"
                )
                said = lab.login.run(["python3", "-c", ask], user=user, check=False).stdout
                assert (said.strip() == "9") is answered, (user, door, said)
        # No password is in any command line or environment.
        with joined(lab.login, "join", session) as (url, _joining):
            everything = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true"
            assert _password(url) not in lab.login.run(everything).stdout


def test_a_revoked_share_ends_at_once(lab: Lab, session: str) -> None:
    """Its stream ended 0.4 s after the verb was called; here it only has to end."""
    with (
        sharing(lab, "share", session, "--with", "bob") as (holder, said),
        joined(lab.login, "join", session) as (url, joining),
        desktop(url, lab.login) as bob,
    ):
        bob.wait_share(BLUE)
        run_vizdash(lab, "share", session, "--with", "bob", "--revoke")
        wait_until(lambda: _disconnected(bob), "the end of his stream", 180)
        assert joining.wait(timeout=180) == 1
        assert holder.wait(timeout=180) == 0
        news = "another vizdash ended the share"
        wait_until(lambda: any(news in one for one in said), "the news", 180, lambda: str(said))
    assert lab.login.run(_FOLDERS).stdout == ""
    again = run_vizdash(lab, "share", session, "--revoke", check=False)
    assert again.returncode == 1
    assert "it is not shared from this machine" in again.stderr
    assert run_vizdash(lab, "join", session, user="bob", check=False).returncode == 1


def test_a_share_where_nodes_are_closed_to_ssh(lab: Lab, session: str) -> None:
    """The owner's vizdash reaches the desktop by a job step, as `vizdash open` does there."""
    with (
        closed_nodes(lab),
        sharing(lab, "share", session, "--with", "bob"),
        joined(lab.login, "join", session) as (url, _joining),
        desktop(url, lab.login) as bob,
    ):
        bob.wait_share(BLUE)
        _viewers(lab, session, 1)
    assert lab.login.run(_FOLDERS).stdout == ""


def test_a_share_in_the_background_ends_with_its_session(lab: Lab, session: str) -> None:
    done = run_vizdash(lab, "share", session, "--with", "bob", "--background", "--for", "1h")
    assert "keeps sharing it" in done.stderr
    (share,) = shares(lab)
    assert share["expires_at"] > share["opened_at"] + 3000
    with joined(lab.login, "join", session) as (url, joining), desktop(url, lab.login) as bob:
        bob.wait_share(BLUE)
        run_vizdash(lab, "stop", session)
        wait_until(lambda: _disconnected(bob), "the end of his stream", 180)
        assert joining.wait(timeout=180) == 1
    wait_until(lambda: shares(lab) == [], "the end of the share", 180)
    wait_nothing_left(lab.login)


def test_a_share_in_the_background_is_revoked(lab: Lab, session: str) -> None:
    run_vizdash(lab, "share", session, "--with", "bob", "--background")
    with joined(lab.login, "join", session) as (url, joining), desktop(url, lab.login) as bob:
        bob.wait_share(BLUE)
        done = run_vizdash(lab, "share", session, "--revoke")
        assert f"bob no longer sees session {session}" in done.stderr
        wait_until(lambda: _disconnected(bob), "the end of his stream", 180)
        assert joining.wait(timeout=180) == 1
    assert shares(lab) == []
    wait_nothing_left(lab.login)


def test_what_cannot_be_shared(lab: Lab, session: str) -> None:
    for words, why in (
        (("--with", "nobody-here"), "there is no user nobody-here on login"),
        (("--with", "alice"), "alice can see it without a share"),
        (("--with", "-x"), "that is no user's name"),
    ):
        refused = run_vizdash(lab, "share", session, *words, check=False)
        assert refused.returncode in {1, 2}
        assert why in refused.stderr, refused.stderr
    assert shares(lab) == []
    wait_nothing_left(lab.login)


def test_both_from_laptops_through_one_login_host_and_through_two(
    lab: Lab, outside: OutsideNetwork, session: str
) -> None:
    authorize_key(outside, lab.login, "alice", "bob")
    alice = ("--host", "alice@login")
    try:
        with second_login(outside) as login2:
            authorize_key(outside, login2, "alice", "bob")
            outside.trust_host_keys("login", "login2")
            with sharing(
                lab, *alice, "share", session, "--with", "bob",
                host=outside.laptop, user=LAPTOP_USER,
            ):  # fmt: skip
                for bob in (("--host", "bob@login"), ("--host", "bob@login2", "--via", "login")):
                    with (
                        joined(
                            outside.laptop, *bob[:2], "join", session, *bob[2:], user=LAPTOP_USER
                        ) as (url, _joining),
                        desktop(url, outside.laptop) as seen,
                    ):
                        seen.wait_share(BLUE)
                        _viewers(lab, session, 1)
                    _viewers(lab, session, 0)
                none = outside.vizdash("--host", "bob@login2", "join")
                assert "nobody shares a session with you" in none.stderr
    finally:
        authorize_key(outside, lab.login)
        (lab.login.root / "etc/ssh/outside_keys/bob").unlink(missing_ok=True)
    for user in ("alice", "bob"):
        wait_nothing_left(lab.login, user)
