"""Nodes as ssh(1) reaches them: the host name to use, and why a connection failed.

Slurm has three names for a node (slurm.conf(5), "NodeName", "NodeHostname", "NodeAddr"), and only
the last has to resolve. Users see the first; ssh gets the first that works on the host where
commands run, by ssh's own settings there.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from vizdash.errors import HostKeyRefused, LoginRefused, Unreachable, VizdashError, last_line
from vizdash.model import Node
from vizdash.transport.base import Command, CommandRunner

#: Seconds until a node without a name that resolves is tried again, and between two queries for
#: unknown nodes.
_RETRY_S = 60.0
_NAME = re.compile(r"(?!-)[A-Za-z0-9_.:%-]{1,255}")
#: Prints the first of its arguments that ssh can reach by name. If that is not the first argument,
#: also prints the name under which known_hosts has its key: the HostKeyAlias (ssh_config(5)) that
#: is set for another of the names, or one of the names. A name with a proxy is resolved elsewhere.
_FIND = r"""
ssh_settings() { ssh -G "$1" 2>/dev/null </dev/null; }
value() { printf '%s\n' "$settings" | sed -n "s/^$1 //p" | head -n 1; }
known() {
  for file in $(value userknownhostsfile) $(value globalknownhostsfile); do
    case $file in '~/'*) file=$HOME/${file#'~/'} ;; esac
    if [ -n "$(ssh-keygen -F "$1" -f "$file" 2>/dev/null)" ]; then return 0; fi
  done
  return 1
}
listed() { if [ "$port" = 22 ]; then printf '%s\n' "$1"; else printf '[%s]:%s\n' "$1" "$port"; fi; }
command -v getent >/dev/null 2>&1 || exit 0
for name; do
  settings=$(ssh_settings "$name")
  host=$(value hostname) port=$(value port)
  host=${host:-$name} port=${port:-22}
  case $(value proxyjump)$(value proxycommand) in
    '' | none | nonenone) getent ahosts "$host" >/dev/null 2>&1 </dev/null || continue ;;
  esac
  alias=
  if [ "$name" != "$1" ] && [ -z "$(value hostkeyalias)" ] && ! known "$(listed "$host")"; then
    for other; do
      as=$(ssh_settings "$other" | sed -n 's/^hostkeyalias //p')
      as=${as:-$(listed "$other")}
      if known "$as"; then alias=$as; break; fi
    done
  fi
  printf '%s %s\n' "$name" "$alias"
  exit 0
done
"""


@dataclass(frozen=True, slots=True)
class NodeHost:
    """A node as ssh(1) reaches it: by ``name``, with its host key known as ``alias`` (empty: as
    ``name``).
    """

    name: str
    alias: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The options of ssh(1) for this name."""
        return ("-o", f"HostKeyAlias={self.alias}") if self.alias else ()

    @property
    def rsync(self) -> str:
        """``name`` as rsync takes it before a colon: an IPv6 address in brackets."""
        return f"[{self.name}]" if ":" in self.name else self.name


class NodeHosts:
    """Finds the host name of each node for ssh(1); ``query_nodes`` queries the engine."""

    def __init__(
        self, runner: CommandRunner, query_nodes: Callable[[], Awaitable[Sequence[Node]]]
    ) -> None:
        self._runner = runner
        self._query_nodes = query_nodes
        self._queried_at = float("-inf")
        self._names: dict[str, tuple[str, ...]] = {}
        self._hosts: dict[str, NodeHost] = {}
        self._failed_at: dict[str, float] = {}
        self._lock = asyncio.Lock()

    def learn(self, nodes: Iterable[Node]) -> None:
        """Take the names of nodes from an answer of the engine."""
        names = {node.name: _names(node) for node in nodes}
        for name, other in names.items():
            if self._names.get(name, other) != other:
                self._hosts.pop(name, None)
        self._names |= names

    def known(self, node: str) -> NodeHost:
        """Return the name found for a node, or the node's own where none was."""
        return self._hosts.get(node) or NodeHost(node)

    def names(self, node: str) -> tuple[str, ...]:
        """Return the engine's names for a node, as far as ``find`` has queried them."""
        return self._names.get(node, (node,))

    async def find(self, node: str) -> NodeHost:
        """Find the first name of a node that works, once; return the node's own where none does,
        or where it has no other.
        """
        if node not in self._hosts:
            await self._learn(node)
            names = self._names.get(node, (node,))
            failed_s = time.monotonic() - self._failed_at.get(node, float("-inf"))
            if len(names) > 1 and failed_s > _RETRY_S:
                await self._resolve(node, names)
        return self.known(node)

    async def _learn(self, node: str) -> None:
        async with self._lock:
            if node in self._names or time.monotonic() - self._queried_at < _RETRY_S:
                return
            self._queried_at = time.monotonic()
            try:
                self.learn(await self._query_nodes())
            except VizdashError:
                return  # the connection to the node fails with ssh's own message

    async def _resolve(self, node: str, names: tuple[str, ...]) -> None:
        try:
            result = await self._runner.run(Command(("sh", "-c", _FIND, "sh", *names)))
        except VizdashError:
            return
        name, _, alias = last_line(result.stdout).partition(" ")
        if name in names:
            self._hosts[node] = NodeHost(name, alias)
        else:
            self._failed_at[node] = time.monotonic()


def _names(node: Node) -> tuple[str, ...]:
    """The names of a node, beginning with the one that users see."""
    names = dict.fromkeys((node.name, node.hostname or node.name, node.address or node.name))
    return tuple(name for name in names if _NAME.fullmatch(name))


_UNKNOWN = "Host key verification failed"
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_REVOKED = re.compile(r"host key for \S+ was revoked", re.IGNORECASE)
_OFFENDING = re.compile(r"Offending \S+ key in (\S+):(\d+)")
#: Messages of sshd and pam_slurm_adopt(8) for a user who may not log in, and of a host that takes
#: no more attempts (sshd_config(5), PerSourcePenalties, MaxStartups).
_REFUSED = (
    "Permission denied (",
    "Access denied",
    "Too many authentication failures",
    "Not allowed at this time",
    "Connection closed by",
    "Connection reset by",
)
_FILES = "~/.ssh/known_hosts or /etc/ssh/ssh_known_hosts"


def node_ssh_error(what: str, node: str, stderr: str, *, where: str = "") -> Unreachable:
    """Return the error for an ssh(1) to a node that ended with code 255.

    ``where`` is the host that it ran on (empty: this one), whose known_hosts files count. In batch
    mode, ssh reports no more of an unknown host key than that its verification failed.
    """
    on = f" on {where}" if where else ""
    if _CHANGED in stderr:
        match = _OFFENDING.search(stderr)
        line = f"{match[1]}:{match[2]}" if match else _FILES
        why = f"its host key is not the one in {line}{on}"
        return HostKeyRefused(
            what, why, "ask its administrators; if the new key is right, remove that line"
        )
    if _REVOKED.search(stderr):
        return HostKeyRefused(what, f"its host key is revoked{on}", "ask its administrators")
    if _UNKNOWN in stderr:
        why = f"its host key is in neither {_FILES.replace(' or ', ' nor ')}{on}"
        fix = f"run `ssh {node}`{on or ' here'} once and compare the fingerprint"
        return HostKeyRefused(what, why, fix)
    # ssh_config(5): "terminating, 1 bad configuration options" comes after the line that is bad.
    lines = [line for line in stderr.splitlines() if ": terminating, " not in line]
    why = last_line("\n".join(lines)) or "ssh ended without a message"
    kind = LoginRefused if any(words in stderr for words in _REFUSED) else Unreachable
    return kind(what, why, f"does `ssh {node}`{on} work for you?")
