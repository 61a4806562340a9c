"""The host name under which ssh(1) reaches a node, where that is not the node's name.

Slurm has three names for a node (slurm.conf(5), "NodeName", "NodeHostname", "NodeAddr"), and only
the last has to resolve. People see the first; ssh gets the first one of them that works on the
host where commands run, as ssh's own settings there have it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from vizdash.errors import VizdashError, last_line
from vizdash.model import Node
from vizdash.transport.base import Command, CommandRunner

#: Seconds for which it holds that no name of a node resolves, and between two queries for nodes
#: that are not known.
_AGAIN_S = 60.0
_NAME = re.compile(r"(?!-)[A-Za-z0-9_.:%-]{1,255}")
#: Prints the first of its arguments that ssh can reach by name, and if that is not the first
#: argument, the one under which known_hosts has its key: the HostKeyAlias (ssh_config(5)) that is
#: set for another of the names, or such a name itself, if any. A name for which a proxy is set is
#: resolved elsewhere.
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
    """``name`` is what ssh is given for a node; ``alias`` the name under which its host key is
    known (empty: ``name`` itself).
    """

    name: str
    alias: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """Options of ssh(1) that go with the name."""
        return ("-o", f"HostKeyAlias={self.alias}") if self.alias else ()

    @property
    def rsync(self) -> str:
        """``name`` in the form that rsync wants before a colon."""
        return f"[{self.name}]" if ":" in self.name else self.name


class NodeHosts:
    """What ssh is to be given for each node; ``query_nodes`` asks the engine for all of them."""

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
        """Take the names of nodes from an answer of the engine's."""
        names = {node.name: _names(node) for node in nodes}
        for name, other in names.items():
            if self._names.get(name, other) != other:
                self._hosts.pop(name, None)
        self._names |= names

    def known(self, node: str) -> NodeHost:
        """What was found for a node; its own name where nothing was."""
        return self._hosts.get(node) or NodeHost(node)

    def names(self, node: str) -> tuple[str, ...]:
        """The names that the engine has for a node, as far as ``find`` has learned them."""
        return self._names.get(node, (node,))

    async def find(self, node: str) -> NodeHost:
        """The first name of a node that works, found once; its own where none does, or where it
        has no other.
        """
        if node not in self._hosts:
            await self._learn(node)
            names = self._names.get(node, (node,))
            failed_s = time.monotonic() - self._failed_at.get(node, float("-inf"))
            if len(names) > 1 and failed_s > _AGAIN_S:
                await self._resolve(node, names)
        return self.known(node)

    async def _learn(self, node: str) -> None:
        async with self._lock:
            if node in self._names or time.monotonic() - self._queried_at < _AGAIN_S:
                return
            self._queried_at = time.monotonic()
            try:
                self.learn(await self._query_nodes())
            except VizdashError:
                return  # whoever wants to reach the node gets ssh's own words

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
    """The names of a node, the one that people know first."""
    found = dict.fromkeys((node.name, node.hostname or node.name, node.address or node.name))
    return tuple(name for name in found if _NAME.fullmatch(name))
