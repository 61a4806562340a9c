"""Copies from node to node by ssh(1): which host key is known, by which name, and where."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, sshd
from vizdash.util.assets import node_script


@dataclass
class ChainKeyCase:
    """``alias`` is what the image host found, ``setting`` a line of the feeding node's own ssh on
    the node that it feeds, ``known`` the name in the feeding node's known_hosts; P is the port.
    """

    known: str
    alias: str = ""
    setting: str = ""
    good: bool = True


NODE = "viz-node002"
KNOWN = {
    "by its address, as there": ChainKeyCase("[127.0.0.1]:P"),
    "by its address, there by its name": ChainKeyCase("[127.0.0.1]:P", alias=f"[{NODE}]:P"),
    "by its name, as there": ChainKeyCase(f"[{NODE}]:P", alias=f"[{NODE}]:P"),
    "by its name, there by its address": ChainKeyCase(f"[{NODE}]:P"),
    "by the alias that is set here": ChainKeyCase(
        "mine", alias=f"[{NODE}]:P", setting="HostKeyAlias mine"
    ),
    "beside the alias that is set here": ChainKeyCase(
        f"[{NODE}]:P", alias=f"[{NODE}]:P", setting="HostKeyAlias mine", good=False
    ),
    "by no name": ChainKeyCase("elsewhere", alias=f"[{NODE}]:P", good=False),
}


@pytest.mark.parametrize("name", KNOWN)
async def test_a_nodes_own_ssh_decides_on_the_next_ones_key(
    name: str, home: Path, key: asyncssh.SSHKey
) -> None:
    case = KNOWN[name]
    part = home / "part"
    part.write_bytes(b"")
    async with sshd(Behaviour(keys=[key])) as server:

        def with_port(text: str) -> str:
            return text.replace("P", str(server.port)) if "]:P" in text else text

        (home / ".ssh/config").write_text(f"Host 127.0.0.1\n {case.setting}\n")
        server.note(home, with_port(case.known))
        option = ("-o", f"HostKeyAlias={with_port(case.alias)}") if case.alias else ()
        key_file = ("-i", f"{home}/.ssh/id_ed25519")
        ssh = ("ssh", "-T", "-o", "BatchMode=yes", "-l", "lena", "-p", str(server.port))
        words = ("feed", NODE, "echo let in", *ssh, *key_file, *option, "127.0.0.1")
        argv = ("bash", "--norc", "-s", "--", "MARK", str(part), "0", "0")
        pipe = asyncio.subprocess.PIPE
        chain = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
        assert chain.stdin is not None and chain.stdout is not None
        script = node_script("chain.sh").read_text(encoding="utf-8")
        chain.stdin.write(f"{script}{shlex.join(words)}\n".encode())
        output = ""
        async with asyncio.timeout(120):
            while "MARK ended" not in output:
                line = await chain.stdout.readline()
                assert line, output
                output = line.decode()
            chain.stdin.close()
            await chain.communicate()
    assert output.strip() == f"MARK ended {NODE} " + (
        "let in" if case.good else "Host key verification failed."
    )
