"""Verbs that use a session as an SSH host: ssh, ssh-config, put, get, proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click

from vizdash.actions import REGISTRY
from vizdash.cli import output
from vizdash.cli.common import cli, common, options_of, run
from vizdash.cli.options import Options
from vizdash.errors import Refused, Unreachable, UsageError, VizdashError
from vizdash.model import SessionState
from vizdash.service.operations import refuse_read_only
from vizdash.service.service import Service
from vizdash.sessions.ssh_host import SshHost, proxy_words
from vizdash.transport.base import Forward, Reader, Writer
from vizdash.transport.listener import SocketListener
from vizdash.util.files import read_own, write_whole

#: Connects to the socket of its argument and hands the connection to ssh (ssh_config(5),
#: ProxyUseFdpass).
_HAND_OVER = (
    "import array,socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
    'socket.socket(fileno=1).sendmsg([b"\\0"],'
    '[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array("i",[s.fileno()]))])'
)
_CHUNK = 1 << 16
#: The file of ``ssh-config --write``, and the line that includes it.
_FILE, _INCLUDE = "vizdash_config", "Include vizdash_config"

_WORDS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@cli.command("ssh", help=REGISTRY.verb_help("ssh"), context_settings=_WORDS)
@common
@click.argument("session")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@click.pass_context
def ssh(ctx: click.Context, /, session: str, command: tuple[str, ...], **values: Any) -> None:
    async def make(host: SshHost, config: str) -> list[str]:
        return ["ssh", "-F", config, host.alias, *command]

    _run_client(ctx, options_of(ctx, values), session, make)


@cli.command(help="Copy files and folders of this machine to a session's node, over SSH.")
@common
@click.argument("session")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", default="", metavar="FOLDER", help="Folder on the node, instead of the home.")
@click.pass_context
def put(
    ctx: click.Context, /, session: str, files: tuple[str, ...], to: str, **values: Any
) -> None:
    options = options_of(ctx, values)
    refuse_read_only(options.load()[0].read_only)
    for name in files:
        if not Path(name).exists():
            raise UsageError(f"put {name}", "there is no such file on this machine")

    async def make(host: SshHost, config: str) -> list[str]:
        return [*_scp(config), *map(_local, files), f"{host.alias}:{to}"]

    _run_client(ctx, options, session, make)


@cli.command(help="Copy files and folders of a session's node to this machine, over SSH.")
@common
@click.argument("session")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", default=".", metavar="FOLDER", help="Folder on this machine.")
@click.pass_context
def get(
    ctx: click.Context, /, session: str, files: tuple[str, ...], to: str, **values: Any
) -> None:
    if not Path(to).is_dir():
        raise UsageError(f"get --to {to}", "there is no such folder on this machine")

    async def make(host: SshHost, config: str) -> list[str]:
        return [*_scp(config), *(f"{host.alias}:{name}" for name in files), _local(to)]

    _run_client(ctx, options_of(ctx, values), session, make)


def _scp(config: str) -> tuple[str, ...]:
    return ("scp", "-F", config, "-r", "-p", "--")


def _local(name: str) -> str:
    """A file's name that scp(1) does not take for one on a host."""
    return name if name.startswith(("/", ".")) else f"./{name}"


def _run_client(
    ctx: click.Context,
    options: Options,
    word: str,
    make: Callable[[SshHost, str], Awaitable[list[str]]],
) -> None:
    """Run a client of OpenSSH on a route to the session, and exit with its exit code."""
    code = 0

    async def work(service: Service) -> None:
        nonlocal code
        session = await service.sessions.find(word)
        host, forward = await service.ssh_hosts.connect(session)
        listener = SocketListener(forward.dial)
        try:
            await listener.start()
            proxy = shlex.join((sys.executable, "-I", "-S", "-c", _HAND_OVER, listener.path))
            config = Path(listener.path).parent / "config"
            write_whole(config, host.entry(proxy, "ProxyUseFdpass yes"))
            code = await _wait(await make(host, str(config)))
        finally:
            await listener.close()
            await forward.close()

    run(options, work)
    ctx.exit(code)


async def _wait(argv: Sequence[str]) -> int:
    """Run a program on this terminal until it ends. Returns its exit code as a shell has it.

    ssh(1) runs the ProxyCommand by $SHELL, with a socket as its stdin: then bash reads ~/.bashrc
    (bash(1), "INVOCATION"), which may print something. sh does not.
    """
    environment = {**os.environ, "SHELL": "/bin/sh"}
    try:
        process = await asyncio.create_subprocess_exec(*argv, env=environment)
    except FileNotFoundError as e:
        why = "there is no such program on this machine"
        raise Unreachable(argv[0], why, "install OpenSSH's client") from e
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        # Ctrl-C reaches the program, too: it restores the terminal.
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    return code if code >= 0 else 128 - code


# ---------------------------------------------------------------- for other clients


@cli.command("ssh-config")
@common
@click.argument("sessions", nargs=-1, metavar="[SESSION...]")
@click.option("--write", "and_write", is_flag=True, help="Write them to ~/.ssh/vizdash_config.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def ssh_config(
    ctx: click.Context,
    /,
    sessions: tuple[str, ...],
    and_write: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Print Host entries of the given sessions, or of all, for ssh, rsync, sftp and editors."""
    options = options_of(ctx, values)

    async def work(service: Service) -> None:
        if sessions:
            chosen = [await service.sessions.find(word) for word in sessions]
        else:
            mine = [s for s in await service.sessions.query() if s.mine]
            await service.ssh_hosts.sweep([s.id for s in mine if s.live])
            chosen = [s for s in mine if s.state is SessionState.READY and not s.legacy]
        hosts = [await service.ssh_hosts.prepare(session) for session in chosen]
        proxies = [proxy_words(_program(), _option_words(options), h.session_id) for h in hosts]
        text = "".join(host.entry(proxy) for host, proxy in zip(hosts, proxies, strict=True))
        if and_write:
            _write_config(text)
        if as_json:
            rows = [
                _json(host, session.node, proxy)
                for host, session, proxy in zip(hosts, chosen, proxies, strict=True)
            ]
            output.write_json("hosts", rows, (await service.info()).cluster)
        elif text and not and_write:
            output.write(text.rstrip("\n"))
        elif not hosts:
            output.print_message("no session is ready (start one: vizdash start APP --wait)")
        else:
            names = ", ".join(host.alias for host in hosts)
            output.print_message(f"hosts in ~/.ssh/{_FILE}: {names}")

    run(options, work)


def _json(host: SshHost, node: str, proxy: str) -> dict[str, Any]:
    return {
        "host": host.alias,
        "session": host.session_id,
        "user": host.user,
        "node": node,
        "proxy_command": proxy,
        "identity_file": str(host.folder / "key"),
        "known_hosts_file": str(host.folder / "known_hosts"),
    }


def _write_config(text: str) -> None:
    """Write the entries to a file of their own; how to include it is the user's decision."""
    folder = Path.home() / ".ssh"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(folder / _FILE, "# Written by vizdash ssh-config --write.\n" + text)
    except OSError as e:
        raise Refused(f"can't write {folder / _FILE}", e.strerror or str(e)) from e
    lines = (read_own(folder / "config") or "").splitlines()
    if _INCLUDE not in (line.strip() for line in lines):
        output.print_message(f"add this as the first line of {folder / 'config'}, once:")
        output.line_to_copy(_INCLUDE)


def _program() -> tuple[str, ...]:
    """The command that runs this vizdash again."""
    path = shutil.which(sys.argv[0])
    if path is not None:
        return (str(Path(path).absolute()),)
    return (sys.executable, str(Path(sys.argv[0]).absolute()))


def _option_words(options: Options) -> list[str]:
    words = []
    if options.cluster:
        words += ["--cluster", options.cluster]
    if options.host:
        words += ["--host", options.host]
    if options.config:
        words += ["--config", str(Path(options.config).expanduser().absolute())]
    return words


@cli.command("proxy")
@common
@click.argument("session")
@click.pass_context
def proxy(ctx: click.Context, /, session: str, **values: Any) -> None:
    """Connect stdin and stdout to a session's sshd: the ProxyCommand of ssh-config."""
    if sys.stdin.isatty() or sys.stdout.isatty():
        raise UsageError("proxy", "ssh runs it: see vizdash ssh-config")

    async def work(service: Service) -> None:
        target = await service.sessions.find(session)
        _, forward = await service.ssh_hosts.connect(target)
        try:
            await _relay(forward)
        finally:
            await forward.close()

    run(options_of(ctx, values), work)


async def _relay(forward: Forward) -> None:
    """Copy between stdin, stdout and the node until one side has ended."""
    try:
        reader, writer = await forward.dial()
    except OSError as e:
        raise Unreachable("the session's sshd", e.strerror or str(e)) from e
    try:
        loop = asyncio.get_running_loop()
        stdin = asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdin), os.fdopen(os.dup(0), "rb")
        )
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(os.dup(1), "wb")
        )
        stdout = asyncio.StreamWriter(transport, protocol, None, loop)
        sending = asyncio.create_task(_copy(stdin, writer))
        receiving = asyncio.create_task(_copy(reader, stdout))
        # After the end of input the node may still send; after its end there is nothing to do.
        await receiving
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    finally:
        writer.close()


async def _copy(reader: Reader, writer: Writer) -> None:
    with contextlib.suppress(OSError, VizdashError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
