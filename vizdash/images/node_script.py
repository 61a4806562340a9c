"""Runs the verbs of images.sh on nodes, with the node's own bash."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass, field

from vizdash.config import Deploy
from vizdash.errors import CommandFailed, VizdashError, last_line
from vizdash.images.throttle import LoginRefusals, Throttle
from vizdash.transport.base import NODE_ANSWER_LIMIT, Command, CommandRunner
from vizdash.transport.node_connections import NodeConnections
from vizdash.transport.node_ssh import NodeHost, NodeHosts, node_ssh_error
from vizdash.util.assets import node_script

#: A node that stops answering is given up after INTERVAL × COUNT seconds (ssh_config(5)).
_SSH = (
    "ssh",
    "-T",
    *("-o", "BatchMode=yes"),
    *("-o", "ForwardX11=no"),
    *("-o", "ForwardAgent=no"),
    *("-o", "ConnectTimeout=5"),
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
)


#: No other ssh of the user's may share the connection of a command: it would end with that.
NO_MASTER = ("-o", "ControlMaster=no")
#: bash reads ~/.bashrc if its input is a socket (bash(1), INVOCATION), as it is for a process that
#: asyncio feeds; --norc prevents that. With -p it ignores BASH_ENV, SHELLOPTS, BASHOPTS, CDPATH and
#: functions of its environment, which a site's start-up files may export.
BASH_STDIN = ("bash", "--norc", "-p", "-s", "--")
#: ``_WITH FILE COMMAND...``: COMMAND reads the script, and after it FILE.
_WITH = ("bash", "--norc", "-p", "-c", '{ cat && cat -- "$0"; } | "$@"')


@dataclass(frozen=True, slots=True)
class NodeShell:
    """Runs verbs of ``images.sh`` on nodes over the user's ssh(1).

    With ``here``, or for a node with an empty name, they run on the machine that commands run on.
    ``hosts`` gives the ssh options of each node.
    """

    runner: CommandRunner
    deploy: Deploy = Deploy()
    here: bool = False
    hosts: NodeHosts | None = None
    #: The host that commands run on, for messages; empty for this machine.
    where: str = ""
    #: Limits how many verbs run at the same time.
    throttle: Throttle = field(default_factory=Throttle, compare=False, repr=False)
    refusals: LoginRefusals = field(default_factory=LoginRefusals, compare=False, repr=False)
    #: Shared by the commands on a node, while a change lasts.
    connections: NodeConnections | None = field(default=None, compare=False, repr=False)

    def is_here(self, node: str) -> bool:
        """Whether ``node`` is reached without SSH."""
        return self.here or not node

    def ssh(self, node: str = "", *, shared: bool = True) -> tuple[str, ...]:
        """Return the ssh command line for ``node``, without the host; with ``shared``, over the
        connection that is open to it.
        """
        login = ("-l", self.deploy.user) if self.deploy.user else ()
        options = self.connections.options(node) if self.connections and shared else ()
        if shared and not options:
            options = NO_MASTER
        return (*_SSH, *login, *options, *self.host(node).options)

    def host(self, node: str) -> NodeHost:
        """Return the host name and options for a node, as far as ``ask`` has resolved them."""
        return self.hosts.known(node) if self.hosts else NodeHost(node)

    def argv(self, node: str, words: tuple[str, ...], *, sudo: bool = False) -> tuple[str, ...]:
        """Return the command line that runs ``words`` on ``node``."""
        if sudo:
            words = ("sudo", "-n", *words)
        if self.is_here(node):
            return words
        return (*self.ssh(node), self.host(node).name, shlex.join(words))

    def command(
        self,
        node: str,
        verb: str,
        *words: str,
        sudo: bool = False,
        timeout_s: float = 30,
        mark: str = "",
        data: str = "",
    ) -> Command:
        """Return the command that runs one verb; its answer stands between two fields that equal
        ``mark``.

        ``data`` is a file of the machine that commands run on, which the verb reads after the
        script.
        """
        script = (*BASH_STDIN, mark or new_mark(), verb, *words)
        argv = self.argv(node, script, sudo=sudo)
        if data:
            argv = (*_WITH, data, *argv)
        limit = NODE_ANSWER_LIMIT
        return Command(argv, input=script_text(), timeout_s=timeout_s, limit_bytes=limit)

    async def ask(
        self,
        node: str,
        verb: str,
        *words: str,
        sudo: bool = False,
        timeout_s: float = 30,
        data: str = "",
    ) -> list[str]:
        """Run a verb and return the fields of its answer, without the closing ``end``.

        ``data`` is as in ``command``. Raises Unreachable when ssh cannot connect, TimedOut, and
        VizdashError with the script's own message when it fails.
        """
        mark = new_mark()
        async with self.throttle.slot():
            await self._connect(node)
            command = self.command(
                node, verb, *words, sudo=sudo, timeout_s=timeout_s, mark=mark, data=data
            )
            result = await self.runner.run(command)
        if result.code != 0:
            raise self.failure(node, result.code, result.stderr)
        return split_answer(result.stdout, mark, node)

    async def _connect(self, node: str) -> None:
        """Find the node's host name, and open the connection that its commands share."""
        if self.is_here(node):
            return
        if self.hosts:
            await self.hosts.find(node)
        if self.connections:
            ssh = self.ssh(node, shared=False)
            if why := await self.connections.open(node, ssh, self.host(node).name):
                raise self.failure(node, 255, why)

    def failure(self, node: str, code: int, stderr: str) -> VizdashError:
        """Return the error that a failed command on a node means."""
        why = last_line(stderr)
        if code == 255 and not self.is_here(node):
            return node_ssh_error(node, node, stderr, where=self.where)
        if why.startswith("sudo:"):
            return VizdashError(node or "sudo", why.removeprefix("sudo:").strip(), "ask for sudo")
        if not why:
            return CommandFailed(node or "bash", code, stderr)
        return VizdashError(node, why) if node else VizdashError(why)


def new_mark() -> str:
    """Return a word that no start-up file prints."""
    return f"vizdash-{secrets.token_hex(8)}"


def script_text() -> str:
    """Return the script that bash reads on a node."""
    return node_script("images.sh").read_text(encoding="utf-8")


def split_answer(text: str, mark: str, node: str) -> list[str]:
    """Split an answer at its NULs.

    Whatever the node's shell prints before and after the two marks is dropped. Raises VizdashError
    for an incomplete answer.
    """
    _, _, rest = text.partition(f"{mark}\0")
    answer, complete, _ = rest.partition(f"{mark}\0")
    fields = answer.split("\0")
    if not complete or fields[-2:] != ["end", ""]:
        raise VizdashError(node or "answer", "the answer is incomplete", "try again")
    return fields[:-2]
