"""One SSH host's settings from ``ssh -G``; an error in ~/.ssh/config is shown by line."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vizdash.errors import Refused
from vizdash.transport import child
from vizdash.transport.ssh import config_file
from vizdash.util import command_log


@dataclass(frozen=True, slots=True)
class Tokens:
    """The values of ssh_config(5)'s tokens for one host: its name as given, HostName, port, user,
    HostKeyAlias and ProxyJump; ``home`` is the user's home.
    """

    name: str
    host: str
    port: str
    user: str
    alias: str
    jumps: str
    home: str

    def command(self, text: str) -> str:
        """Expand the tokens of a command; the shell does the rest."""
        return self._percent(text)

    def path(self, text: str) -> Path:
        """Expand ``~``, tokens and environment variables of a path. Raises Refused."""
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        elif text.startswith("~"):
            try:
                text = str(Path(text).expanduser())
            except (RuntimeError, ValueError) as e:  # no such user, or a NUL in the name
                user = text[1:].partition("/")[0]
                raise Refused(f"settings of {self.name}", f"there is no user {user}: {text}") from e

        def variable(match: re.Match[str]) -> str:
            value = os.environ.get(match[1])
            if value is None:
                raise Refused(f"settings of {self.name}", f"${{{match[1]}}} in {text} is not set")
            return value

        return Path(re.sub(r"\$\{([^}]*)\}", variable, self._percent(text)))

    def _percent(self, text: str) -> str:
        """Expand ``%x`` (ssh_config(5), TOKENS). Raises Refused for an unknown token."""
        if "%" not in text:
            return text
        values = self._values()

        def token(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise Refused(f"settings of {self.name}", f"{match[0]} in {text} means nothing")
            return values[match[1]]

        return re.sub(r"%(.|$)", token, text)

    def _values(self) -> dict[str, str]:
        here = socket.gethostname()
        hashed = os.fsencode(f"{here}{self.host}{self.port}{self.user}{self.jumps}")
        return {
            "%": "%",
            "C": hashlib.sha1(hashed, usedforsecurity=False).hexdigest(),
            "d": self.home,
            "h": self.host,
            "i": str(os.getuid()),
            "j": self.jumps,
            "k": self.alias or self.name,
            "L": here.partition(".")[0],
            "l": here,
            "n": self.name,
            "p": self.port,
            "r": self.user,
            "u": _myself(),
        }


def _myself() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


#: Seconds for ``ssh -G``: canonicalisation queries the DNS, ``Match exec`` runs a command.
_SSH_G_S = 60.0
#: Keywords that asyncssh does not support, and the values with which they have no effect.
_ONLY_SSH = {
    "PKCS11Provider": {"", "none"},
    "KnownHostsCommand": {"", "none"},
    "RevokedHostKeys": {"", "none"},
    "ProxyUseFdpass": {"", "no", "false"},
    "BindInterface": {"", "none"},
    "VerifyHostKeyDNS": {"", "no", "false"},
    "HostbasedAuthentication": {"", "no", "false"},
}
#: The least size of an RSA key for ssh, whatever RequiredRSASize is (OpenSSH's sshkey.h).
_MIN_RSA_BITS = 1024
_ALGORITHMS = ("ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms")


@dataclass(frozen=True, slots=True)
class Target:
    """A host to log in to, ``[user@]host[:port]``; ssh_config(5) supplies what is missing.

    ``jumps`` are its jump hosts as ``ssh -J`` takes them.
    """

    host: str
    user: str = ""
    port: int = 0
    jumps: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse ``user@host:port`` or ``ssh://user@host:port``; IPv6 addresses are in brackets."""
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
        """Parse the last of some jump hosts, reached through those before it (ssh.c, ProxyJump)."""
        before, _, last = jumps.rpartition(",")
        hop = cls.parse(last)
        return cls(hop.host, hop.user, hop.port, before)


@dataclass(frozen=True, slots=True)
class HostSettings:
    """The settings of one host, from ssh_config(5) and its defaults.

    ``name`` is the host as given, ``host`` its HostName. Times are in seconds, 0 is never.
    ``algorithms`` are by keyword, in lower case; asyncssh chooses for a keyword without an entry.
    RSA keys of fewer than ``min_rsa_bits`` are neither offered nor accepted.
    With ``batch``, nothing is asked. ``add_to_agent`` is AddKeysToAgent: ``no``, ``yes``, ``ask``,
    ``confirm``, seconds, or ``confirm`` and seconds. ``attempts`` are those to connect.
    ``control_path`` is the control socket of a shared connection (empty: none). ``only_ssh`` are
    the settings that only ssh(1) supports, as keyword and value.
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
    add_to_agent: str
    user_known_hosts: tuple[Path, ...]
    global_known_hosts: tuple[Path, ...]
    hash_known_hosts: bool
    strict: str
    fingerprint_hash: str
    trusts_localhost: bool
    batch: bool
    methods: tuple[str, ...]
    prompts: int
    alive_interval_s: int
    alive_count: int
    connect_timeout_s: int
    attempts: int
    address_family: str
    bind_address: str
    tcp_keepalive: bool
    compression: bool
    gssapi: bool
    control_path: str
    only_ssh: tuple[str, ...]
    algorithms: Mapping[str, tuple[str, ...]]
    min_rsa_bits: int

    @property
    def known_as(self) -> str:
        """Its name in known_hosts. An alias never has a port."""
        return self.alias or name_with_port(self.host, self.port)


def name_with_port(host: str, port: int) -> str:
    """A host's name in known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return host if port == 22 else f"[{host}]:{port}"


async def read_settings(target: Target) -> HostSettings:
    """Read the settings of a host. Raises Refused, with ssh's message where ssh refuses them."""
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
    """Parse the output of ``ssh -G``: values by keyword, in lower case, in their order."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), []).append(value)
    return values


async def _ask_ssh(ssh: str, target: Target) -> str:
    """Run ``ssh -G``, which makes no connection. Without -T it warns about the terminal."""
    argv = [ssh, "-T", "-G"]
    argv += ["-l", target.user] if target.user else []
    argv += ["-p", str(target.port)] if target.port else []
    argv += ["-J", target.jumps] if target.jumps else []
    argv += ["--", target.host]
    began = time.monotonic()
    process = await child.start(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_SSH_G_S):
            stdout, stderr = await child.read_output(process)
    except TimeoutError as e:
        why = f"ssh -G took more than {_SSH_G_S:.0f} s"
        raise Refused(f"settings of {target.host}", why, "does a Match exec hang?") from e
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what a Match exec runs
        await process.close()
        took_s = time.monotonic() - began
        command_log.record(argv, f"exit {process.returncode}", took_s)
    if process.returncode != 0:
        lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
        lines = [line for line in lines if line and ": terminating, " not in line]
        why = "; ".join(lines) or "it gives no reason"
        why = f"ssh -G refuses them with exit code {process.returncode}: {why}"
        raise Refused(f"settings of {target.host}", why, f"`ssh {target.host}` has to work")
    return stdout.decode(errors="surrogateescape")


class _Values:
    """Values as ``ssh -G`` prints them, read by type."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def one(self, keyword: str, default: str = "") -> str:
        """The value of a keyword, or the default."""
        return self._values[keyword][0] if self._values.get(keyword) else default

    def flag(self, keyword: str, default: str = "no") -> bool:
        return self.one(keyword, default) in {"yes", "true"}

    def choice(self, keyword: str, default: str) -> str:
        """A value that may be yes or no, and others; ``ssh -G`` prints those as true or false."""
        value = self.one(keyword, default)
        return {"true": "yes", "false": "no", "off": "no"}.get(value, value)

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
        """The allowed methods that vizdash supports, in their order."""
        asks = not self.flag("batchmode")
        allowed = {
            "publickey": self.one("pubkeyauthentication", "yes") not in {"no", "false"},
            "keyboard-interactive": asks and self.flag("kbdinteractiveauthentication", "yes"),
            "password": asks and self.flag("passwordauthentication", "yes"),
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
    """Make settings of values as ``ssh -G`` prints them. Raises Refused."""
    v = _Values(values)
    host, alias = _lower(v.one("hostname", name)), v.one("hostkeyalias").lower()
    user, port, jumps = v.one("user"), v.number("port", 22), v.unless_none("proxyjump")
    tokens = Tokens(name, host, str(port), user, alias, jumps, home_folder())
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
        add_to_agent=v.choice("addkeystoagent", "no"),
        user_known_hosts=_known_hosts_files(v.one("userknownhostsfile"), tokens),
        global_known_hosts=_known_hosts_files(v.one("globalknownhostsfile"), tokens),
        hash_known_hosts=v.flag("hashknownhosts"),
        strict=v.choice("stricthostkeychecking", "ask"),
        fingerprint_hash=v.one("fingerprinthash", "SHA256").lower(),
        trusts_localhost=v.flag("nohostauthenticationforlocalhost"),
        batch=v.flag("batchmode"),
        methods=v.methods(),
        prompts=v.number("numberofpasswordprompts", 3),
        alive_interval_s=v.number("serveraliveinterval", 0),
        alive_count=v.number("serveralivecountmax", 3),
        connect_timeout_s=v.number("connecttimeout", 0),
        attempts=max(1, v.number("connectionattempts", 1)),
        address_family=v.one("addressfamily", "any"),
        bind_address=v.unless_none("bindaddress"),
        tcp_keepalive=v.flag("tcpkeepalive", "yes"),
        compression=v.flag("compression"),
        gssapi=v.flag("gssapiauthentication"),
        control_path=v.unless_none("controlpath"),
        only_ssh=v.only_ssh(),
        algorithms=v.algorithms(),
        min_rsa_bits=max(_MIN_RSA_BITS, v.number("requiredrsasize", _MIN_RSA_BITS)),
    )


def _lower(host: str) -> str:
    """A host in lower case. The zone of an IPv6 address is an interface (fe80::1%enP2p1s0)."""
    name, mark, zone = host.partition("%")
    return f"{name.lower()}{mark}{zone}"


def home_folder() -> str:
    """The home that ssh uses: the passwd entry's, whatever $HOME is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return str(Path.home())


def _agent(value: str, tokens: Tokens) -> str:
    """The agent's socket; empty for none (ssh_config(5), IdentityAgent)."""
    if not value or value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if value.lower() == "none":
        return ""
    if re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", value):
        return os.environ.get(value[1:], "")
    return str(tokens.path(value))


def _known_hosts_files(value: str, tokens: Tokens) -> tuple[Path, ...]:
    """Split files that are joined by blanks without quotes: each begins with / or ~."""
    names = re.split(r"[ \t]+(?=[/~])", value.strip()) if value else []
    return tuple(tokens.path(name) for name in names if name.lower() not in {"", "none"})
