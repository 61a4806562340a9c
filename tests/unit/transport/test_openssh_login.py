"""Logging in by ssh(1): its questions reach a person, and what it says comes in our words."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, Late, Person, Slow, Sshd, sshd
from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError
from vizdash.model.link import LinkState
from vizdash.transport.base import Command
from vizdash.transport.openssh.choice import choose
from vizdash.transport.openssh.words import login_failure
from vizdash.transport.ssh.link import SshLink
from vizdash.transport.ssh.runner import SshRunner
from vizdash.transport.ssh.settings import Target

OTP = ("Second factor", (("Verification code: ", False),), ("424242",))
PATIENCE = "vizdash.transport.ssh.patience"


@pytest.fixture(autouse=True)
def _key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~/.ssh/id_ed25519 of this home: ssh itself takes the keys of the account's."""
    monkeypatch.setenv("VIZDASH_TEST_KEY", str(home / ".ssh/id_ed25519"))


async def echo(host: str, person: Person) -> str:
    link = SshLink(host, person, ssh="openssh")
    try:
        return (await SshRunner(link).run(Command(("echo", "in")))).stdout
    finally:
        await link.close()


async def refusal(host: str, *answers: tuple[str, ...] | None) -> VizdashError:
    with pytest.raises(VizdashError) as caught:
        await echo(host, Person(list(answers)))
    return caught.value


def at(server: Sshd, user: str = "lena") -> str:
    return f"{user}@127.0.0.1:{server.port}"


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.02)


# ---------------------------------------------------------------- secrets


async def test_a_password(home: Path) -> None:
    how = Behaviour(password="right")
    person = Person([("right",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    (asked,) = person.asked
    assert (asked.title, asked.lines) == ("Log in to 127.0.0.1", ("127.0.0.1 asks:",))
    assert [(f.label, f.shown) for f in asked.fields] == [("password", False)]
    assert how.tried == ["right"]


async def test_a_wrong_password_is_asked_for_as_often_as_ssh_does(home: Path) -> None:
    how = Behaviour(password="right")
    person = Person([("wrong",), ("worse",), ("worst",)])
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(Refused, match="the password or code was refused"):
            await echo(at(server), person)
    assert how.tried == ["wrong", "worse", "worst"]
    assert "That was refused: try again." in person.asked[1].lines


async def test_a_code_with_the_hosts_words(home: Path) -> None:
    how = Behaviour(rounds=[OTP], banner="Maintenance on Sunday.\n")
    person = Person([("424242",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    (asked,) = person.asked
    assert asked.lines == ("Maintenance on Sunday.", "Second factor", "127.0.0.1 asks:")
    assert asked.fields[0].label == "Verification code"


async def test_a_code_for_which_a_person_takes_ten_minutes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of our own limits runs while it is typed."""
    how = Behaviour(rounds=[OTP])
    person = Slow([("424242",)])
    person.patch(monkeypatch)
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    assert (how.tried, len(person.asked)) == (["424242"], 1)


async def test_what_is_typed_while_the_server_hangs_up_is_not_asked_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd waits for 120 s (LoginGraceTime). ssh learns of it only once it has the answer."""
    monkeypatch.setattr("vizdash.transport.openssh.login._SLOW_S", 0.5)
    how = Behaviour(rounds=[OTP])
    person = Late([("424242",)], how=how)
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    assert how.tried == ["424242"]
    assert len(person.asked) == 1


async def test_a_code_that_is_refused_is_never_sent_again(home: Path) -> None:
    """Not even where the server hangs up at it."""
    how = Behaviour(rounds=[OTP], hangs_up=True)
    async with sshd(how) as server:
        server.known(home)
        error = await refusal(at(server), ("111111",), ("222222",))
    assert how.tried == ["111111"]
    assert isinstance(error, Unreachable)


async def test_a_host_cannot_pose_as_this_computers_ssh(home: Path) -> None:
    """What it asks for has its name, whatever it says."""
    text = f"Enter passphrase for key '{home}/.ssh/id_ed25519': "
    how = Behaviour(rounds=[("", ((text, False),), ("never",))])
    person = Person([None])
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(Refused, match="it was cancelled"):
            await echo(at(server), person)
    assert person.asked[0].lines[-1] == "127.0.0.1 asks:"
    assert how.tried == []


async def test_a_cancelled_question_sends_nothing(home: Path) -> None:
    how = Behaviour(password="right")
    async with sshd(how) as server:
        server.known(home)
        error = await refusal(at(server), None)
    assert error.line == "login to 127.0.0.1: it was cancelled"
    assert how.tried == []


async def test_a_passphrase_is_asked_for_by_this_computer(home: Path) -> None:
    made = asyncssh.generate_private_key("ssh-ed25519")
    file = home / ".ssh/id_ed25519"
    made.write_private_key(str(file), passphrase="sesame", rounds=50)
    file.chmod(0o600)
    person = Person([("wrong",), ("sesame",)])
    async with sshd(Behaviour(keys=[made])) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    first, second = person.asked
    assert first.lines[-1].startswith("ssh on this computer asks")
    assert first.fields[0].label == f"passphrase of {file}"
    assert second.lines[0] == "That was refused: try again."


async def test_a_push_lets_us_wait_and_can_be_given_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{PATIENCE}.SAY_AFTER_S", 0.3)
    push = ("Duo for lena", (("Passcode or option (1-2): ", True),), ("1",))
    how = Behaviour(rounds=[push], push_s=2)
    person = Person([("1",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
        assert person.waits >= 1
        assert any("accept the login" in line for _, lines in person.shown for line in lines)
        how.push_s = 600
        with pytest.raises(Refused, match="it was cancelled"):
            await echo(at(server), Person([("1",)], gives_up=True))


async def test_without_a_terminal_nothing_is_sent(home: Path) -> None:
    class Nobody(Person):
        async def ask(self, prompt: object) -> tuple[str, ...] | None:
            raise Unreachable("Log in", "there is no terminal to ask you on")

    how = Behaviour(password="right")
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(Unreachable, match="no terminal"):
            await echo(at(server), Nobody())
    assert how.tried == []


async def test_an_ssh_before_8_4_asks_us_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SSH_ASKPASS_REQUIRE, it does so where DISPLAY is set and no terminal controls it;
    its hosts' words have no mark.
    """

    async def old(ssh: str) -> tuple[int, int]:
        return (8, 0)

    monkeypatch.setattr("vizdash.transport.openssh.login.read_version", old)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("SSH_ASKPASS_REQUIRE", raising=False)
    person = Person([("right",)])
    async with sshd(Behaviour(password="right")) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    assert person.asked[0].fields[0].label == "password"


async def test_a_secret_is_in_no_argv_and_no_environment(home: Path) -> None:
    secret = "Correct-Horse-Battery"

    class Slow(Person):
        async def ask(self, prompt: object) -> tuple[str, ...] | None:
            looks.append(asyncio.create_task(look()))
            return (secret,)

    async def look() -> None:
        for _ in range(40):
            found.update(name for name, text in _texts().items() if secret in text)
            await asyncio.sleep(0.02)

    found: set[str] = set()
    looks: list[asyncio.Task[None]] = []
    async with sshd(Behaviour(password=secret)) as server:
        server.known(home)
        assert await echo(at(server), Slow()) == "in\n"
    await asyncio.gather(*looks)
    assert found == set()


def _texts() -> dict[str, str]:
    """The argv and environment of each process of this machine's, but this one."""
    texts = {}
    for number in os.listdir("/proc"):
        if number.isdigit() and number != str(os.getpid()):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    text = Path("/proc", number, name).read_text(errors="replace")
                    texts[f"{number}/{name}"] = text
    return texts


# ---------------------------------------------------------------- host keys


async def test_an_unknown_host_key_is_asked_about_and_added(
    home: Path, key: asyncssh.SSHKey
) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        person = Person([()])
        assert await echo(at(server), person) == "in\n"
        (asked,) = person.asked
        assert asked.title == f"[127.0.0.1]:{server.port} is not known yet"
        assert f"ED25519 {server.host_key.get_fingerprint()}" in asked.lines
        assert (asked.yes, asked.fields) == ("trust it", ())
        assert await echo(at(server), Person()) == "in\n"


async def test_a_host_key_that_is_not_trusted(home: Path, key: asyncssh.SSHKey) -> None:
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        error = await refusal(at(server), None)
    assert error.line == "host key of 127.0.0.1: it was not trusted"
    assert how.logins == 0
    assert not (home / ".ssh/known_hosts").exists()


async def test_a_changed_host_key_is_refused_with_its_line(
    home: Path, key: asyncssh.SSHKey
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home, key=other)
        error = await refusal(at(server))
        assert error.what == "the host key of 127.0.0.1 has changed"
        assert f"ED25519 {server.host_key.get_fingerprint()}" in error.why
        assert f"{home}/.ssh/known_hosts:1" in error.why


@pytest.mark.parametrize("strict", ["ask", "no"])
async def test_a_revoked_host_key_is_refused(home: Path, key: asyncssh.SSHKey, strict: str) -> None:
    (home / ".ssh/config").write_text(f"StrictHostKeyChecking {strict}\n")
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.note(home, f"@revoked [127.0.0.1]:{server.port}")
        error = await refusal(at(server))
    assert (error.what, error.why) == ("host key of 127.0.0.1", "it is revoked")


async def test_strict_host_key_checking_asks_nobody(home: Path, key: asyncssh.SSHKey) -> None:
    (home / ".ssh/config").write_text("StrictHostKeyChecking yes\n")
    async with sshd(Behaviour(keys=[key])) as server:
        error = await refusal(at(server))
    assert "it is not known" in error.why


# ---------------------------------------------------------------- the way there


async def test_a_jump_host_by_user_and_port_each_with_its_question(
    home: Path, key: asyncssh.SSHKey
) -> None:
    inner, outer = Behaviour(password="inner"), Behaviour(rounds=[OTP])
    person = Person([("424242",), ("inner",)])
    async with sshd(inner) as target, sshd(outer) as jump:
        target.known(home, "localhost")
        jump.known(home)
        (home / ".ssh/config").write_text(
            f"Host inside\n  HostName localhost\n  Port {target.port}\n"
            f"  ProxyJump someone@127.0.0.1:{jump.port}\n"
        )
        assert await echo("lena@inside", person) == "in\n"
    assert (outer.users[-1], inner.users[-1]) == ("someone", "lena")
    assert [p.title for p in person.asked] == ["Log in to 127.0.0.1", "Log in to localhost"]


async def test_a_proxy_command_with_a_shell(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        server.note(home, "viz-cluster")
        script = home / "proxy.py"
        script.write_text(
            "import socket, threading, os\n"
            f"s = socket.create_connection(('127.0.0.1', {server.port}))\n"
            "def up():\n"
            "    while d := os.read(0, 65536): s.sendall(d)\n"
            "threading.Thread(target=up, daemon=True).start()\n"
            "while d := s.recv(65536): os.write(1, d)\n"
        )
        (home / ".ssh/config").write_text(
            f"Host inside\n  HostKeyAlias viz-cluster\n"
            f'  ProxyCommand {sys.executable} "$HOME/proxy.py" 2>$HOME/noise\n'
        )
        assert await echo("lena@inside", Person()) == "in\n"
        assert (home / "noise").exists()
    # In a shell of its own: ssh hangs up on a proxy as soon as it closes its stdout, which
    # `exec echo >&2` does before it says a word.
    proxy = "sh -c 'echo no such door >&2'"
    (home / ".ssh/config").write_text(f"Host inside\n  ProxyCommand {proxy}\n")
    assert "its ProxyCommand ended: no such door" in (await refusal("inside")).line
    # It may have ended before ssh has written its first line.
    ended = ["no such door", "banner exchange: Connection to UNKNOWN port 65535: Broken pipe"]
    assert login_failure(ended, "inside", typed=False).why == "its ProxyCommand ended: no such door"


async def test_jump_hosts_in_a_circle_never_reach_ssh(home: Path) -> None:
    (home / ".ssh/config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    assert "its jump hosts lead in a circle: a → b → a" in (await refusal("a")).line


async def test_nothing_is_forwarded_whatever_the_file_says(
    home: Path, key: asyncssh.SSHKey
) -> None:
    """Nor run: a RemoteCommand, a LocalCommand, forwards, a terminal."""
    (home / ".ssh/config").write_text(
        "RequestTTY force\nRemoteCommand echo no\nPermitLocalCommand yes\n"
        f"LocalCommand touch {home}/ran\nLocalForward {home}/l localhost:1\n"
        "ControlPersist 600\nControlMaster auto\nLogLevel QUIET\nBatchMode no\n"
    )
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home)
        assert await echo(at(server), Person()) == "in\n"
    assert not (home / "ran").exists()
    assert not (home / "l").exists()


# ---------------------------------------------------------------- failures in words


async def test_no_such_host(home: Path) -> None:
    error = await refusal("no-such-host.invalid")
    assert "no host of that name is known (check its spelling, and DNS)" in error.line


async def test_a_closed_port(home: Path) -> None:
    assert (await refusal("127.0.0.1:1")).why == "it refuses the connection"


async def test_no_key_is_accepted(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[asyncssh.generate_private_key("ssh-ed25519")])) as server:
        server.known(home)
        error = await refusal(at(server))
    assert isinstance(error, Refused)
    assert error.why == "nothing of yours was accepted (it takes publickey)"


async def test_a_host_that_says_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{PATIENCE}.PATIENCE_S", 1.0)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        error = await refusal(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert isinstance(error, TimedOut)
    assert error.why == "it does not answer"


async def test_bad_settings_are_one_line(home: Path) -> None:
    (home / ".ssh/config").write_text("Port many\n")
    assert "ssh -G refuses them" in (await refusal("127.0.0.1")).why


# ---------------------------------------------------------------- the master


@asynccontextmanager
async def own_master(home: Path, server: Sshd) -> AsyncIterator[asyncio.subprocess.Process]:
    """A connection of the person's own, with ControlPath in ~/.ssh/config."""
    path = home / ".ssh/cm"
    (home / ".ssh/config").write_text(f"ControlPath {path}\n")
    process = await asyncio.create_subprocess_exec(
        "ssh", "-M", "-N", "-T", "-p", str(server.port), "lena@127.0.0.1",
        stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        await until(path.exists)
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def test_a_connection_of_the_persons_own_is_shared(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any login, and it is there afterwards. Once it is gone, we log in by ourselves."""
    monkeypatch.setattr("vizdash.transport.ssh.link._PAUSES", (0.1,))
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(home)
        async with own_master(home, server) as theirs:
            assert how.logins == 1
            link = SshLink(at(server), Person(), ssh="auto")
            await SshRunner(link).run(Command(("true",)))
            assert how.logins == 1
            assert link.link.via == f"by OpenSSH: your own connection at {home}/.ssh/cm is shared"
            await link.close()
            assert theirs.returncode is None
            link = SshLink(at(server), Person(), ssh="auto")
            runner = SshRunner(link)
            await runner.run(Command(("true",)))
        await until(lambda: link.link.state is not LinkState.UP)
        assert (await runner.run(Command(("echo", "again")))).stdout == "again\n"
        assert how.logins == 2
        assert link.link.via.startswith("by the built-in SSH")
        await link.close()


async def test_another_users_control_socket_is_none(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(home)
        async with own_master(home, server):
            monkeypatch.setattr("vizdash.transport.openssh.control.os.geteuid", lambda: 4711)
            link = SshLink(at(server), Person(), ssh="auto")
            await SshRunner(link).run(Command(("true",)))
            assert how.logins == 2
            await link.close()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="vd", dir="/tmp") as folder:
        yield Path(folder)


async def test_the_master_is_private_and_goes_with_us(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch, short: Path
) -> None:
    place = short
    monkeypatch.setenv("TMPDIR", str(place))
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home)
        link = SshLink(at(server), Person(), ssh="openssh")
        await SshRunner(link).run(Command(("true",)))
        (folder,) = place.glob("vizdash-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "m").stat().st_mode) == 0o600
        await link.close()
        assert list(place.iterdir()) == []
        await until(lambda: not [text for text in _texts().values() if str(folder) in text])


_KILLED = """
import asyncio, sys
from tests.unit.transport.sshd import Person
from vizdash.transport.base import Command
from vizdash.transport.openssh.choice import choose
from vizdash.transport.ssh.link import SshLink
from vizdash.transport.ssh.runner import SshRunner
from vizdash.transport.ssh.settings import Target

async def main():
    link = SshLink(sys.argv[1], Person(), ssh="openssh")
    await SshRunner(link).run(Command(("true",)))
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_master_ends_with_a_vizdash_that_was_killed(
    home: Path, key: asyncssh.SSHKey
) -> None:
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(home)
        (home / ".ssh/config").write_text("SendEnv MARK\n")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _KILLED, at(server),
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), "MARK": str(home)},
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"up\n"
        # The ssh processes are found by their environment.
        assert [name for name, text in _texts().items() if f"MARK={home}" in text]
        process.kill()
        await process.wait()
        await until(lambda: not any(f"MARK={home}" in text for text in _texts().values()))


# ---------------------------------------------------------------- as often as ssh itself

_COUNT = """#!/bin/sh
printf '%s\\n' "$1" >>"$COUNTED"
case $1 in *yes/no*) echo yes ;; *) sed -n "$(wc -l <"$COUNTED")p" "$ANSWERS" ;; esac
"""


async def asked_by_ssh(home: Path, server: Sshd, answers: list[str]) -> list[str]:
    """ssh's own questions, in a login with these answers (one line a question)."""
    program, counted = home / "count", home / "counted"
    program.write_text(_COUNT)
    program.chmod(0o700)
    counted.write_text("")
    (home / "answers").write_text("\n".join(answers) + "\n")
    process = await asyncio.create_subprocess_exec(
        "ssh", "-T", "-p", str(server.port), "lena@127.0.0.1", "echo in",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={
            **os.environ, "SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force",
            "COUNTED": str(counted), "ANSWERS": str(home / "answers"),
        },
    )  # fmt: skip
    async with asyncio.timeout(60):
        stdout, stderr = await process.communicate()
    assert stdout == b"in\n", stderr
    return counted.read_text().splitlines()


TWO = ("", (("Token: ", False), ("Color: ", True)), ("123", "blue"))


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        (Behaviour(password="right"), ["wrong", "right"]),
        (Behaviour(rounds=[OTP]), ["424242"]),
        (Behaviour(rounds=[OTP, TWO]), ["424242", "123", "blue"]),
    ],
    ids=["a wrong password first", "a code", "rounds of several fields"],
)
async def test_as_many_questions_as_ssh_asks(
    home: Path, how: Behaviour, answers: list[str]
) -> None:
    async with sshd(how) as server:
        server.known(home)
        wanted = await asked_by_ssh(home, server, answers)
        person = Person([(answer,) for answer in answers])
        assert await echo(at(server), person) == "in\n"
        assert len(wanted) == len(person.asked) == len(answers)
        assert person.answers == []


# ---------------------------------------------------------------- which of the two, and why


async def via(host: str) -> str:
    link = SshLink(host, Person(), ssh="auto")
    try:
        await SshRunner(link).run(Command(("true",)))
    finally:
        await link.close()
    return link.link.via


def klist(home: Path, code: int) -> None:
    """There is a Kerberos ticket, or none."""
    (home / "bin/klist").write_text(f"#!/bin/sh\nexit {code}\n")
    (home / "bin/klist").chmod(0o755)


async def test_a_ticket_is_for_openssh_where_the_server_takes_it(
    home: Path, key: asyncssh.SSHKey
) -> None:
    config = home / ".ssh/config"
    async with (
        sshd(Behaviour(keys=[key], kerberos=True)) as server,
        sshd(Behaviour(keys=[key])) as other,
    ):
        server.known(home)
        other.known(home)
        config.write_text("GSSAPIAuthentication yes\n")
        klist(home, 0)
        kerberos = "by OpenSSH: it takes your Kerberos ticket (GSSAPIAuthentication)"
        assert await via(at(server)) == kerberos
        assert (
            await via(at(other))
            == "by the built-in SSH: nothing in your ssh settings needs OpenSSH"
        )
        klist(home, 1)
        assert (await via(at(server))).startswith("by the built-in SSH")
        klist(home, 0)
        config.write_text("GSSAPIAuthentication no\n")
        assert (await via(at(server))).startswith("by the built-in SSH")


async def test_without_a_ticket_it_says_how_to_get_one(home: Path) -> None:
    (home / ".ssh/config").write_text("GSSAPIAuthentication yes\n")
    async with sshd(Behaviour(keys=[], kerberos=True)) as server:
        server.known(home)
        with pytest.raises(Refused, match="run `kinit` for a ticket"):
            await via(at(server))


@pytest.mark.parametrize(
    "line",
    [
        "PKCS11Provider /usr/lib/p11.so",
        "KnownHostsCommand /bin/cat x",
        "VerifyHostKeyDNS yes",
        "RevokedHostKeys /etc/ssh/revoked",
    ],
)
@pytest.mark.parametrize("host", ["viz", "jump"])
async def test_settings_that_only_ssh_has(home: Path, line: str, host: str) -> None:
    """Of the host itself, or of one on the way."""
    (home / ".ssh/config").write_text(f"Host viz\n  ProxyJump jump\nHost {host}\n  {line}\n")
    choice = await choose(Target("viz"), "auto")
    assert choice.words == f"by OpenSSH: {line} in the settings of {host}"
    assert not (await choose(Target("viz"), "builtin")).openssh


async def test_a_fido_key_without_an_agent(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose touch ssh alone can wait for; with an agent that holds it, it is a key like others."""
    name = "sk-ssh-ed25519@openssh.com"
    blob = b"".join(
        len(part).to_bytes(4, "big") + part for part in (name.encode(), bytes(32), b"ssh:")
    )
    public = home / ".ssh/id_ed25519_sk.pub"
    public.write_text(f"{name} {base64.b64encode(blob).decode()} lena\n")
    file = public.with_suffix("")
    (home / ".ssh/config").write_text(f"IdentityFile {file}\n")
    choice = await choose(Target("viz"), "auto")
    assert choice.words == f"by OpenSSH: {file} is a FIDO key, and no agent holds it"

    async def held(agent: str) -> set[bytes]:
        return {blob}

    monkeypatch.setattr("vizdash.transport.ssh.needs._held", held)
    assert not (await choose(Target("viz"), "auto")).openssh


async def test_no_common_cipher_is_for_openssh(home: Path, key: asyncssh.SSHKey) -> None:
    """asyncssh lacks what is asked for."""
    (home / ".ssh/config").write_text("KexAlgorithms sntrup761x25519-sha512@openssh.com\n")
    link = SshLink("viz", Person(), ssh="auto")
    with pytest.raises(VizdashError):
        await link.connection(0)
    assert link.link.via.startswith("by OpenSSH: kexalgorithms leaves none that vizdash has")
    await link.close()
