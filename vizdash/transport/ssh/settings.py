"""The settings of one SSH host, as ssh(1) has them: ``ssh -G`` says, and all is expanded here.

asyncssh reads no file of the person's; what it needs is in a HostSettings.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vizdash.errors import Refused
from vizdash.transport.ssh import config_file
from vizdash.transport.ssh.tokens import Tokens

#: Seconds for ``ssh -G``: canonicalisation asks the DNS, ``Match exec`` runs a command.
_SSH_G_S = 60.0
#: Keywords that asyncssh has nothing for, and the values with which they mean nothing.
_ONLY_SSH = {
    "PKCS11Provider": {"", "none"},
    "KnownHostsCommand": {"", "none"},
    "RevokedHostKeys": {"", "none"},
    "ProxyUseFdpass": {"", "no", "false"},
    "BindInterface": {"", "none"},
    "VerifyHostKeyDNS": {"", "no", "false"},
    "HostbasedAuthentication": {"", "no", "false"},
}
_ALGORITHMS = ("ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms")


@dataclass(frozen=True, slots=True)
class Target:
    """``[user@]host[:port]``; what is left out comes from ssh_config(5).

    ``jumps`` are hops that lead there, as ``ssh -J`` takes them.
    """

    host: str
    user: str = ""
    port: int = 0
    jumps: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """``user@host:port`` or ``ssh://user@host:port``; IPv6 addresses in brackets."""
        text = text.removeprefix("ssh://").rstrip("/")
        user, _, rest = text.rpartition("@")
        if rest.startswith("["):
            host, _, port = rest[1:].partition("]")
            port = port.removeprefix(":")
        elif rest.count(":") == 1:
            host, _, port = rest.partition(":")
        else:
            host, port = rest, ""
        return cls(host, user, int(port) if re.fullmatch(r"[0-9]{1,9}", port) else 0)

    @classmethod
    def last_of(cls, jumps: str) -> Target:
        """The last of some hops, reached by those before it (ssh.c, ProxyJump)."""
        before, _, last = jumps.rpartition(",")
        hop = cls.parse(last)
        return cls(hop.host, hop.user, hop.port, before)


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What ssh_config(5) and its defaults say of one host.

    ``name`` is the host as it was named, ``host`` where it is (HostName). Times are in seconds, 0
    is never. ``algorithms`` are by keyword, in lower case; a keyword without an entry leaves the
    choice to asyncssh. ``control_path`` is where a connection to share would be ("": nowhere), and
    ``only_ssh`` are the keywords, with their values, that ssh(1) alone can do.
    """

    name: str
    host: str
    user: str
    port: int
    alias: str
    jumps: str
    proxy_command: str
    identity_files: tuple[Path, ...]
    certificate_files: tuple[Path, ...]
    identities_only: bool
    agent: str
    user_known_hosts: tuple[Path, ...]
    global_known_hosts: tuple[Path, ...]
    hash_known_hosts: bool
    strict: str
    fingerprint_hash: str
    trusts_localhost: bool
    methods: tuple[str, ...]
    prompts: int
    alive_interval_s: int
    alive_count: int
    connect_timeout_s: int
    address_family: str
    bind_address: str
    tcp_keepalive: bool
    compression: bool
    gssapi: bool
    control_path: str
    only_ssh: tuple[str, ...]
    algorithms: Mapping[str, tuple[str, ...]]

    @property
    def known_as(self) -> str:
        """The name that known_hosts has it under: an alias never has a port."""
        return self.alias or name_with_port(self.host, self.port)


def name_with_port(host: str, port: int) -> str:
    """As known_hosts names it (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return host if port == 22 else f"[{host}]:{port}"


async def read_settings(target: Target) -> HostSettings:
    """The settings of a host. Raises Refused, with ssh's own words where it refuses the file."""
    ssh = shutil.which("ssh")
    if ssh is None:
        values = await asyncio.to_thread(
            config_file.read_values,
            target.host,
            target.user,
            target.port,
            target.jumps,
            home_folder(),
        )
    else:
        values = parse_values(await _ask_ssh(ssh, target))
    return host_settings(target.host, values)


def parse_values(text: str) -> dict[str, list[str]]:
    """What ``ssh -G`` prints: keyword (in lower case) and values, in their order."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), []).append(value)
    return values


async def _ask_ssh(ssh: str, target: Target) -> str:
    """Run ``ssh -G``: no connection, no question. -T, else it speaks of a terminal."""
    argv = [ssh, "-T", "-G"]
    argv += ["-l", target.user] if target.user else []
    argv += ["-p", str(target.port)] if target.port else []
    argv += ["-J", target.jumps] if target.jumps else []
    process = await asyncio.create_subprocess_exec(
        *argv,
        "--",
        target.host,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_SSH_G_S):
            stdout, stderr = await process.communicate()
    except TimeoutError as e:
        why = f"ssh -G took more than {_SSH_G_S:.0f} s"
        raise Refused(f"settings of {target.host}", why, "does a Match exec hang?") from e
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
        lines = [line for line in lines if line and ": terminating, " not in line]
        why = "; ".join(lines) or "it says nothing"
        why = f"ssh -G refuses them with exit code {process.returncode}: {why}"
        raise Refused(f"settings of {target.host}", why, f"`ssh {target.host}` has to work")
    return stdout.decode(errors="surrogateescape")


class _Values:
    """Values as ``ssh -G`` gives them, read by kind."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def one(self, keyword: str, default: str = "") -> str:
        """The value, or the default where the keyword is not there."""
        return self._values[keyword][0] if self._values.get(keyword) else default

    def flag(self, keyword: str, default: str = "no") -> bool:
        return self.one(keyword, default) in {"yes", "true"}

    def number(self, keyword: str, default: int) -> int:
        text = self.one(keyword)
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else default

    def unless_none(self, keyword: str) -> str:
        value = self.one(keyword)
        return "" if value.lower() == "none" else value

    def files(self, keyword: str, tokens: Tokens) -> tuple[Path, ...]:
        named = [value for value in self._values.get(keyword, ()) if value.lower() != "none"]
        return tuple(tokens.path(value) for value in named)

    def methods(self) -> tuple[str, ...]:
        """The methods that vizdash has and that are wanted, in their order."""
        allowed = {
            "publickey": self.one("pubkeyauthentication", "yes") not in {"no", "false"},
            "keyboard-interactive": self.flag("kbdinteractiveauthentication", "yes"),
            "password": self.flag("passwordauthentication", "yes"),
        }
        wanted = self.one("preferredauthentications") or ",".join(allowed)
        return tuple(method for method in wanted.split(",") if allowed.get(method))

    def only_ssh(self) -> tuple[str, ...]:
        return tuple(
            f"{keyword} {'yes' if value == 'true' else value}"
            for keyword, nothing in _ONLY_SSH.items()
            if (value := self.one(keyword.lower())).lower() not in nothing
        )

    def algorithms(self) -> dict[str, tuple[str, ...]]:
        return {
            keyword: tuple(self._values[keyword][0].split(","))
            for keyword in _ALGORITHMS
            if self._values.get(keyword)
        }


def host_settings(name: str, values: Mapping[str, Sequence[str]]) -> HostSettings:
    """Values as ``ssh -G`` gives them, expanded. Raises Refused."""
    v = _Values(values)
    host, alias = v.one("hostname", name).lower(), v.one("hostkeyalias").lower()
    user, port, jumps = v.one("user"), v.number("port", 22), v.unless_none("proxyjump")
    tokens = Tokens(name, host, str(port), user, alias, jumps, home_folder())
    strict = v.one("stricthostkeychecking", "ask")
    return HostSettings(
        name=name,
        host=host,
        user=user,
        port=port,
        alias=alias,
        jumps=jumps,
        proxy_command=tokens.command(v.unless_none("proxycommand")),
        identity_files=v.files("identityfile", tokens),
        certificate_files=v.files("certificatefile", tokens),
        identities_only=v.flag("identitiesonly"),
        agent=_agent(v.one("identityagent"), tokens),
        user_known_hosts=_known_hosts_files(v.one("userknownhostsfile"), tokens),
        global_known_hosts=_known_hosts_files(v.one("globalknownhostsfile"), tokens),
        hash_known_hosts=v.flag("hashknownhosts"),
        strict={"true": "yes", "false": "no", "off": "no"}.get(strict, strict),
        fingerprint_hash=v.one("fingerprinthash", "SHA256").lower(),
        trusts_localhost=v.flag("nohostauthenticationforlocalhost"),
        methods=v.methods(),
        prompts=v.number("numberofpasswordprompts", 3),
        alive_interval_s=v.number("serveraliveinterval", 0),
        alive_count=v.number("serveralivecountmax", 3),
        connect_timeout_s=v.number("connecttimeout", 0),
        address_family=v.one("addressfamily", "any"),
        bind_address=v.unless_none("bindaddress"),
        tcp_keepalive=v.flag("tcpkeepalive", "yes"),
        compression=v.flag("compression"),
        gssapi=v.flag("gssapiauthentication"),
        control_path=v.unless_none("controlpath"),
        only_ssh=v.only_ssh(),
        algorithms=v.algorithms(),
    )


def home_folder() -> str:
    """The home that ssh uses: that of the passwd entry, whatever $HOME is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return str(Path.home())


def _agent(value: str, tokens: Tokens) -> str:
    """The agent's socket; "" for none (ssh_config(5), IdentityAgent)."""
    if not value or value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if value.lower() == "none":
        return ""
    if re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", value):
        return os.environ.get(value[1:], "")
    return str(tokens.path(value))


def _known_hosts_files(value: str, tokens: Tokens) -> tuple[Path, ...]:
    """Files joined by blanks without quotes: a new one begins where a path can begin."""
    names = re.split(r"[ \t]+(?=[/~])", value.strip()) if value else []
    return tuple(tokens.path(name) for name in names if name.lower() not in {"", "none"})
