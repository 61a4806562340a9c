"""What is remembered on disk after vizdash has been used: the shell's history, lists of files and
addresses that were opened last, vizdash's own records. No password is in any of them, and the
address that a browser remembers works no more.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.lab import Lab
from tests.lab.terminal import terminal
from tests.lab.test_isolation import connection
from tests.lab.test_share import joined
from tests.lab.verbs import run_vizdash, start_session
from tests.waiting import wait_until

NODE = "viz-node002"
_REMEMBERED = ".local/share/recently-used.xbel"
#: A browser that opens an address once, and remembers it as desktops and browsers do.
_BROWSER = f"""#!/bin/sh
mkdir -p ~/.local/share
curl -s "$1" >/dev/null
printf '<bookmark href="%s"/>\\n' "$1" >>~/{_REMEMBERED}
"""
#: As a login by ssh with an editor's helper for addresses.
_LOGIN = {"BROWSER": "/home/alice/browser", "SSH_CONNECTION": "10.9.9.9 1 10.9.9.8 22"}
_PYTHON = "/opt/vizdash/bin/python"
_PATCHED = """
import sys
from vizdash.cli import program
from vizdash.sessions.routes import Route
exec(sys.argv.pop(1))
sys.argv[0] = "vizdash"
program.main()
"""
_GIVES_THE_URL = "Route.offer_redirect = lambda self, page: self.url"
_LOGS_ALL = "assert program._logged_words; program._logged_words = list"


@pytest.fixture
def session(lab: Lab, site: None) -> Iterator[dict[str, str]]:
    """A ready session of alice's, and a browser of hers."""
    found: dict[str, str] = start_session(lab, "plain", "--node", NODE)
    lab.login.run("cat >browser && chmod 755 browser", user="alice", input=_BROWSER)
    yield found
    lab.login.run(f"rm -f browser .bash_history {_REMEMBERED}", user="alice")


def holders(lab: Lab, *secrets: str) -> set[str]:
    """The files of the homes that contain a secret, as it is, in base64, or in an address; without
    the files that are meant to: those of connections, which are their owner's alone.
    """
    texts = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
    texts |= {base64.b64encode(secret.encode()).decode() for secret in secrets}
    words = [word for text in sorted(texts) for word in ("-e", text)]
    done = lab.login.run(["grep", "-rlaF", *words, "/home"], check=False)
    return {file for file in done.stdout.splitlines() if not file.endswith("/connection")}


def remembered(lab: Lab) -> str:
    return lab.login.run(f"cat {_REMEMBERED}; true", user="alice").stdout


def by_hand(lab: Lab, *lines: str) -> str:
    """Type commands at a prompt of alice's, each ended by ctrl+c once its browser has opened an
    address, or it has printed one. Returns what was shown.
    """
    with terminal(lab.login, ["bash", "--norc"], env={**_LOGIN, "PS1": r"<\#>"}) as screen:
        for number, line in enumerate(lines, 1):
            screen.wait(f"<{number}>")
            before = remembered(lab)
            screen.type(line)
            screen.keys("Enter")
            wait_until(
                lambda before=before: (  # type: ignore[misc]
                    remembered(lab) != before or "password=" in screen.text()
                ),
                f"an address by {line}",
                seen=screen.text,
            )
            screen.keys("C-c")
        screen.wait(f"<{len(lines) + 1}>")
        shown = screen.text()
        screen.type("exit")
        screen.keys("Enter")
        screen.wait_ended()
        return shown


def test_no_history_has_a_password(lab: Lab, session: dict[str, str]) -> None:
    known, own = connection(lab, session), session["id"]
    secrets = {known["PASSWORD"], known["VIEW_PASSWORD"], "typed-secret-4711"}
    shown = by_hand(lab, f"vizdash open {own}", f"vizdash open {own} --print")
    assert known["PASSWORD"] in shown
    run_vizdash(lab, "ssh", own, "echo", "typed-secret-4711")
    run_vizdash(lab, "share", own, "--with", "bob", "--background")
    with joined(lab.login, "join", own) as (url, _):
        shared = re.search(r"password=(\w{8})", url)
        assert shared is not None
        secrets.add(shared[1])
        assert holders(lab, *secrets) == set()
    run_vizdash(lab, "share", own, "--revoke")
    history = lab.login.run(["cat", "/home/alice/.bash_history"]).stdout
    assert f"vizdash open {own} --print\n" in history
    assert holders(lab, *secrets) == set()
    # The search would find one in each kind of history.
    names = (".bash_history", ".python_history", ".lesshst", ".viminfo", _REMEMBERED)
    for name in names:
        lab.login.run(f"printf '%s\\n' {known['PASSWORD']} >>{name}", user="alice")
    assert holders(lab, *secrets) == {f"/home/alice/{name}" for name in names}
    lab.login.run(["rm", *names], user="alice")


def test_a_remembered_address_works_no_more(lab: Lab, session: dict[str, str]) -> None:
    password = connection(lab, session)["PASSWORD"]

    def fetched(address: str) -> str:
        ask = ["curl", "-s", "--max-time", "20", address]
        return lab.login.run(ask, user="alice", check=False).stdout

    with terminal(lab.login, ["vizdash", "open", session["id"]], env=_LOGIN) as screen:
        wait_until(lambda: remembered(lab) != "", "an address", seen=screen.text)
        (address,) = re.findall(r'href="([^"]+)"', remembered(lab))
        assert address.startswith("http://127.0.0.1:")
        assert password not in fetched(address), "it works twice"
        screen.keys("C-c")
        screen.wait_ended()
    assert fetched(address) == ""
    assert holders(lab, password) == set()
    # Without the page, what the browser remembers is the password itself.
    by_hand(lab, f"{_PYTHON} -c '{_PATCHED}' '{_GIVES_THE_URL}' open {session['id']}")
    assert holders(lab, password) == {f"/home/alice/{_REMEMBERED}"}


def test_what_is_typed_after_ssh(lab: Lab, session: dict[str, str]) -> None:
    words = ("ssh", session["id"], "echo", "typed-secret-4712")
    assert run_vizdash(lab, *words).stdout == "typed-secret-4712\n"
    assert holders(lab, "typed-secret-4712") == set()
    lab.login.run([_PYTHON, "-c", _PATCHED, _LOGS_ALL, *words], user="alice")
    (log,) = holders(lab, "typed-secret-4712")
    assert log.endswith("/log/commands.log")
    lab.login.run(["sed", "-i", "/typed-secret/d", log])
