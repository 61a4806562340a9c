"""The way to a node's image root: a script of ours, run by the node's own bash."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass, field

from vizdash.config import Deploy
from vizdash.errors import CommandFailed, VizdashError, last_line
from vizdash.images.gate import Gate, Refusals
from vizdash.resources import node_script
from vizdash.transport.base import Command, CommandRunner
from vizdash.transport.nodehosts import NodeHost, NodeHosts
from vizdash.transport.ssh_words import node_failure

#: A node that falls silent is given up after INTERVAL × COUNT seconds (ssh_config(5)).
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


#: Bash reads ~/.bashrc where its input is a socket (bash(1), INVOCATION), which it is for a
#: process that asyncio feeds.
BASH = ("bash", "--norc", "-s", "--")
#: ``_WITH FILE COMMAND...``: COMMAND reads the script, and then FILE.
_WITH = ("bash", "--norc", "-c", '{ cat && cat -- "$0"; } | "$@"')


@dataclass(frozen=True, slots=True)
class NodeShell:
    """Runs verbs of ``images.sh`` on nodes over the user's own ssh(1), or with ``here`` on the
    machine that commands run on anyway. An empty node is that machine too. ``hosts`` knows what
    ssh is to be given for a node.
    """

    runner: CommandRunner
    deploy: Deploy = Deploy()
    here: bool = False
    hosts: NodeHosts | None = None
    #: The host that commands run on, for messages: "" for this machine.
    where: str = ""
    #: Every verb on a node passes it.
    gate: Gate = field(default_factory=Gate, compare=False, repr=False)
    refusals: Refusals = field(default_factory=Refusals, compare=False, repr=False)

    def is_here(self, node: str) -> bool:
        """Whether ``node`` needs no SSH."""
        return self.here or not node

    def ssh(self, node: str = "") -> tuple[str, ...]:
        """Words that start an SSH connection (to ``node``), the host left out."""
        login = ("-l", self.deploy.user) if self.deploy.user else ()
        return (*_SSH, *login, *self.host(node).options)

    def host(self, node: str) -> NodeHost:
        """What ssh is given for a node, as far as ``ask`` has found it out."""
        return self.hosts.known(node) if self.hosts else NodeHost(node)

    def argv(self, node: str, words: tuple[str, ...], *, sudo: bool = False) -> tuple[str, ...]:
        """The command line that runs ``words`` on ``node``."""
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
        """The command of one verb; its answer stands between two fields that are ``mark``.
        ``data`` is a file of the machine that commands run on, which the verb reads.
        """
        script = (*BASH, mark or new_mark(), verb, *words)
        argv = self.argv(node, script, sudo=sudo)
        if data:
            argv = (*_WITH, data, *argv)
        return Command(argv, input=script_text(), timeout_s=timeout_s)

    async def ask(
        self,
        node: str,
        verb: str,
        *words: str,
        sudo: bool = False,
        timeout_s: float = 30,
        data: str = "",
    ) -> list[str]:
        """The fields of a verb's answer, the closing ``end`` left out; ``data`` as in ``command``.

        Raises Unreachable when ssh could not get there, TimedOut, and VizdashError with the
        script's own line when it failed.
        """
        mark = new_mark()
        async with self.gate.passed():
            if self.hosts and not self.is_here(node):
                await self.hosts.find(node)
            command = self.command(
                node, verb, *words, sudo=sudo, timeout_s=timeout_s, mark=mark, data=data
            )
            result = await self.runner.run(command)
        if result.code != 0:
            raise self.failure(node, result.code, result.stderr)
        return fields(result.stdout, mark, node)

    def failure(self, node: str, code: int, stderr: str) -> VizdashError:
        """What a failed command on a node means."""
        why = last_line(stderr)
        if code == 255 and not self.is_here(node):
            return node_failure(node, node, stderr, where=self.where)
        if why.startswith("sudo:"):
            return VizdashError(node or "sudo", why.removeprefix("sudo:").strip(), "ask for sudo")
        if not why:
            return CommandFailed(node or "bash", code, stderr)
        return VizdashError(node, why) if node else VizdashError(why)


def new_mark() -> str:
    """A word that no start-up file prints."""
    return f"vizdash-{secrets.token_hex(8)}"


def script_text() -> str:
    """The script that bash reads on a node."""
    return node_script("images.sh").read_text(encoding="utf-8")


def fields(text: str, mark: str, node: str) -> list[str]:
    """Split the answer between two marks at its NULs: what a node's shell printed before and after
    is not part of it. Raises VizdashError for one that was cut off.
    """
    _, _, begun = text.partition(f"{mark}\0")
    answer, whole, _ = begun.partition(f"{mark}\0")
    found = answer.split("\0")
    if not whole or found[-2:] != ["end", ""]:
        raise VizdashError(node or "answer", "it broke off", "try again")
    return found[:-2]
