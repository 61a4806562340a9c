"""Reads ~/.ssh/config where there is no ssh(1); what it cannot follow is refused."""

from __future__ import annotations

import glob
import os
import pwd
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vizdash.errors import Refused


class BadLine(ValueError):
    """A line that is wrong or not supported."""


def split_keyword(line: str) -> tuple[str, str]:
    """The keyword in lower case and the rest; between them are blanks and at most one ``=``."""
    match = re.match(r'"?([^ \t="]*)"?[ \t]*=?[ \t]*', line)
    assert match is not None
    return match[1].lower(), line[match.end() :]


def split_words(text: str) -> list[str]:
    """Split words with quotes and backslashes, up to a comment (OpenSSH's misc.c, argv_split)."""
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in " \t":
            position += 1
            continue
        if text[position] == "#":
            break
        word, quote = "", ""
        while position < len(text):
            char, following = text[position], text[position + 1 : position + 2]
            if char == "\\" and (following in {"'", '"', "\\"} or (following == " " and not quote)):
                word += following
                position += 1
            elif not quote and char in " \t":
                break
            elif not quote and char in "\"'":
                quote = char
            elif quote and char == quote:
                quote = ""
            else:
                word += char
            position += 1
        if quote:
            raise BadLine("unclosed quote")
        words.append(word)
    return words


def split_match_words(text: str) -> Iterator[str]:
    """Split the words of a Match line, which are quoted by ``"`` alone (misc.c, strdelim)."""
    while text and not text.startswith("#"):
        if text.startswith('"'):
            word, closed, text = text[1:].partition('"')
            if not closed:
                raise BadLine("unclosed quote")
            text = text.lstrip(" \t")
        else:
            match = re.match(r'([^ \t="]*)[ \t]*=?[ \t]*', text)
            assert match is not None
            word, text = match[1], text[match.end() :]
        yield word


def expand_host_name(text: str, host: str) -> str:
    """Expand a HostName, whose only tokens are ``%h`` and ``%%``."""
    return re.sub(r"%([h%])", lambda match: host if match[1] == "h" else "%", text)


def normalize_address(host: str, family: str) -> str:
    """Write an address as ssh does, which also names it so in known_hosts (ssh.c, resolve_addr):
    ``0:0:0:0:0:0:0:1`` as ``::1``, ``127.1`` as ``127.0.0.1``. A host name stays, and an address
    that the AddressFamily ``family`` does not have.
    """
    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    wanted = families.get(family, socket.AF_UNSPEC)
    try:
        addresses = socket.getaddrinfo(host, None, wanted, flags=socket.AI_NUMERICHOST)
        return socket.getnameinfo(addresses[0][4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    except (OSError, UnicodeError, ValueError):
        return host


def single_value(keyword: str, words: list[str]) -> str:
    """The only value of a keyword. Raises BadLine for none, an empty one, or several."""
    if not words or not words[0]:
        raise BadLine(f"{keyword} has no value")
    if len(words) > 1:
        raise BadLine(f"{keyword} has more than one value")
    return words[0]


def matches_host(host: str, patterns: list[str]) -> bool:
    """Whether a Host line matches (ssh_config(5), PATTERNS); a negated match excludes the host."""
    if not all(pattern.removeprefix("!") for pattern in patterns):
        raise BadLine("host has an empty pattern")
    return matches_list(host, patterns)


def matches_list(text: str, patterns: list[str]) -> bool:
    """Whether a pattern matches, and no negated one."""
    matched = False
    for pattern in patterns:
        if _matches(text, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _matches(text: str, pattern: str) -> bool:
    """Whether a pattern matches; only ``*`` and ``?`` are special."""
    parts = {"*": ".*", "?": "."}
    expression = "".join(parts.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


_SYSTEM = Path("/etc/ssh/ssh_config")
_DEPTH = 16  # readconf.c, READCONF_MAX_DEPTH
_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
_HOP = re.compile(r"([^\s@,\"'#\\/]+@)?(\[[0-9A-Za-z:.%]+\]|[^\s@,:\"'#\\/\[\]]+)(:[0-9]{1,5})?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FIX = "vizdash reads it itself, since there is no ssh here: install OpenSSH's client"


def _flag(text: str) -> str:
    if text.lower() not in {"yes", "no", "true", "false"}:
        raise BadLine(f"{text} is not yes or no")
    return "yes" if text.lower() in {"yes", "true"} else "no"


def _number(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadLine(f"{text} is not a number")
    return str(int(text))


def _seconds(text: str) -> str:
    """A time (sshd_config(5), TIME FORMATS) in seconds."""
    if text.lower() == "none":
        return "none"
    if not re.fullmatch(r"([0-9]+[smhdw]?)+", text, re.IGNORECASE):
        raise BadLine(f"{text} is not a time")
    parts = re.findall(r"([0-9]+)([smhdw]?)", text.lower())
    return str(sum(int(number) * _UNITS[unit] for number, unit in parts))


def _text(text: str) -> str:
    return text


def _algorithms(text: str) -> str:
    if text[:1] in {"+", "-", "^"} or "*" in text:
        raise BadLine(f"a list that builds on ssh's own ({text}) is not supported")
    return text


def _one_of(**values: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        key = text.lower().replace("-", "_")
        if key not in values:
            raise BadLine(f"{text} is not supported")
        return values[key]

    return check


#: Keywords with one value, and the function that checks it and writes it as ``ssh -G`` does.
_VALUES: Mapping[str, Callable[[str], str]] = {
    "addkeystoagent": _one_of(
        yes="yes", true="yes", no="no", false="no", ask="ask", confirm="confirm"
    ),
    "addressfamily": _one_of(any="any", inet="inet", inet6="inet6"),
    "batchmode": _flag,
    "bindaddress": _text,
    "ciphers": _algorithms,
    "compression": _flag,
    "connectionattempts": _number,
    "connecttimeout": _seconds,
    "fingerprinthash": _one_of(sha256="SHA256", md5="MD5"),
    "hashknownhosts": _flag,
    "hostkeyalgorithms": _algorithms,
    "hostkeyalias": _text,
    "hostname": _text,
    "identitiesonly": _flag,
    "identityagent": _text,
    "kbdinteractiveauthentication": _flag,
    "kexalgorithms": _algorithms,
    "macs": _algorithms,
    "nohostauthenticationforlocalhost": _flag,
    "numberofpasswordprompts": _number,
    "passwordauthentication": _flag,
    "port": _number,
    "preferredauthentications": _text,
    "pubkeyacceptedalgorithms": _algorithms,
    "pubkeyauthentication": _one_of(
        yes="yes", no="no", true="yes", false="no", unbound="yes", host_bound="yes"
    ),
    "requiredrsasize": _number,
    # A list of keys that only ssh(1) reads; without it, the built-in SSH would accept one of them.
    "revokedhostkeys": _one_of(none="none"),
    "serveralivecountmax": _number,
    "serveraliveinterval": _seconds,
    "stricthostkeychecking": _one_of(
        yes="yes", true="yes", no="no", false="no", off="no", ask="ask", accept_new="accept-new"
    ),
    "tcpkeepalive": _flag,
    "user": _text,
}
_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
}
#: Keywords whose values add up, and keywords of which the first line counts.
_ADDED, _LISTS = {"identityfile", "certificatefile"}, {"userknownhostsfile", "globalknownhostsfile"}
#: Keywords without effect here; their values are not checked.
_IGNORED = frozenset(
    """canonicaldomains canonicalizefallbacklocal canonicalizemaxdots
    canonicalizepermittedcnames casignaturealgorithms checkhostip clearallforwardings
    controlmaster controlpath controlpersist dynamicforward
    enableescapecommandline enablesshkeysign escapechar exitonforwardfailure
    forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted
    gatewayports gssapiauthentication gssapidelegatecredentials hostbasedacceptedalgorithms
    hostbasedauthentication ipqos kbdinteractivedevices localcommand localforward loglevel
    logverbose permitlocalcommand permitremoteopen rekeylimit remotecommand remoteforward
    requesttty sendenv sessiontype setenv stdinnull
    streamlocalbindmask streamlocalbindunlink syslogfacility tunnel tunneldevice updatehostkeys
    verifyhostkeydns visualhostkey xauthlocation""".split()  # noqa: SIM905
)
_SUBSET_MATCH = {"all", "host", "originalhost", "user", "localuser"}


def read_values(
    host: str, user: str, port: int, jumps: str, home: str, *, files: Sequence[Path] = ()
) -> dict[str, list[str]]:
    """Read the settings of a host from the user's and the system's files, as ``ssh -G`` prints
    them.

    ``files`` replace both, as the user's. Raises Refused, with file and line, for what is wrong or
    not supported.
    """
    reading = _Reading(host, home)
    if user:
        reading.values["user"] = [user]
    if port:
        reading.values["port"] = [str(port)]
    if jumps:
        reading.values["proxyjump"] = [jumps]
    both = ((Path(home) / ".ssh/config", True), (_SYSTEM, False))
    for file, personal in [(file, True) for file in files] or both:
        reading.read(file, personal=personal, never=False, depth=0)
    values = reading.values
    named = expand_host_name(values["hostname"][0], host) if "hostname" in values else host
    values["hostname"] = [normalize_address(named, values.get("addressfamily", [""])[0])]
    values.setdefault("user", [_myself()])
    values.setdefault("identityfile", [f"~/.ssh/{name}" for name in _DEFAULT_KEYS])
    values.setdefault("userknownhostsfile", ["~/.ssh/known_hosts ~/.ssh/known_hosts2"])
    values.setdefault(
        "globalknownhostsfile", ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"]
    )
    return values


@dataclass
class _Reading:
    """The values read so far. The first one of a keyword counts."""

    host: str
    home: str
    values: dict[str, list[str]] = field(default_factory=dict)
    unknown_allowed: list[str] = field(default_factory=list)
    active: bool = True

    def read(self, file: Path, *, personal: bool, never: bool, depth: int) -> None:
        """Read a file. ``never``: a block for other hosts includes it."""
        if depth > _DEPTH:
            raise Refused(str(file), "files include each other without end", _FIX)
        try:
            text = file.read_text("utf-8", "surrogateescape")
        except OSError:
            return
        self.active = self.active if depth else True
        for number, full in enumerate(text.split("\n"), 1):
            line = full.partition("\0")[0]  # ssh reads lines as strings of C
            try:
                for path in self._line(line, personal=personal, never=never):
                    before = self.active
                    inner = never or not before
                    self.read(path, personal=personal, never=inner, depth=depth + 1)
                    self.active = before
            except BadLine as e:
                raise Refused(f"{file}:{number}", str(e), _FIX) from e

    def _line(self, line: str, *, personal: bool, never: bool) -> Iterator[Path]:
        """Read a line; yield the files that it includes."""
        # For ssh, a form feed is a blank only at the end of a line, and not as its first character.
        line = (line[:1] + line[1:].rstrip(" \t\r\f")).lstrip(" \t\r")
        keyword, rest = split_keyword(line)
        if not keyword or keyword.startswith("#"):
            return
        keyword = _ALIASES.get(keyword, keyword)
        if not rest:
            raise BadLine(f"{keyword} has no value")
        words = split_words(rest)
        if keyword == "host":
            self.active = not never and matches_host(self.host, words)
        elif keyword == "match":
            self.active = self._match(rest) and not never
        elif keyword == "include":
            for word in words:
                yield from self._included(word, personal=personal)
        elif keyword == "ignoreunknown":
            if self.active and not self.unknown_allowed:
                self.unknown_allowed = single_value(keyword, words).lower().split(",")
        else:
            self._set(keyword, words, rest)

    def _set(self, keyword: str, words: list[str], rest: str) -> None:
        """Set a keyword; its value is checked even in a block for other hosts."""
        if keyword == "addkeystoagent" and len(words) > 1:
            raise BadLine(f"{keyword} with more than one value is not supported")
        if keyword in _VALUES:
            value = _VALUES[keyword](single_value(keyword, words))
            # A time of "none" sets nothing: the next line counts.
            if self.active and not (_VALUES[keyword] is _seconds and value == "none"):
                self.values.setdefault(keyword, [value])
        elif keyword in _ADDED:
            value = single_value(keyword, words)
            kept = self.values.get(keyword, [])
            if self.active and value not in kept:
                self.values[keyword] = [*kept, value]
        elif keyword in _LISTS:
            if any(re.search(r"\s", word) for word in words) or not all(words):
                raise BadLine(f"{keyword} with blanks in a name is not supported")
            if self.active and words:
                self.values.setdefault(keyword, [" ".join(words)])
        elif keyword in {"proxycommand", "proxyjump"}:
            self._proxy(keyword, rest)
        elif keyword == "canonicalizehostname" and single_value(keyword, words).lower() in {
            "no",
            "false",
        }:
            return
        elif keyword not in _IGNORED and not matches_list(keyword, self.unknown_allowed):
            raise BadLine(f"{keyword} is not supported")

    def _proxy(self, keyword: str, rest: str) -> None:
        """Set ProxyCommand or ProxyJump; the first of both counts, even ``none``."""
        rest = rest.lstrip(" \t=")  # any number of them, unlike elsewhere
        if not rest:
            raise BadLine(f"{keyword} has no value")
        hops = rest.split(",")
        if keyword == "proxyjump" and not all(_HOP.fullmatch(hop) for hop in hops):
            raise BadLine(f"proxyjump {rest} is not supported")
        if self.active and not {"proxycommand", "proxyjump"} & set(self.values):
            self.values[keyword] = [rest]

    def _included(self, pattern: str, *, personal: bool) -> list[Path]:
        if not pattern:
            raise BadLine("include has an empty name")
        if pattern.startswith("~") and not personal:
            raise BadLine(f"{pattern} in the system's file is refused by ssh too")
        if pattern == "~" or pattern.startswith("~/"):
            pattern = self.home + pattern[1:]
        elif pattern.startswith("~"):
            try:
                pattern = str(Path(pattern).expanduser())
            except RuntimeError:  # ~name of an unknown user: matches nothing, as for ssh
                return []
        if not pattern.startswith("/"):
            pattern = f"{self.home}/.ssh/{pattern}" if personal else f"/etc/ssh/{pattern}"
        names = glob.glob(pattern)  # noqa: PTH207  a pattern as for glob(3)
        return [Path(name) for name in sorted(names, key=os.fsencode)]

    def _match(self, rest: str) -> bool:
        """Whether a Match line's criteria are met; all of them are checked for errors."""
        words = list(split_match_words(rest))
        if not words:
            raise BadLine("match has no criteria")
        met = True
        position = 0
        while position < len(words):
            negated, name = words[position].startswith("!"), words[position].lower().lstrip("!")
            if name not in _SUBSET_MATCH:
                raise BadLine(f"match {name} is not supported")
            if name == "all":
                if len(words) > 1:
                    raise BadLine("match all can't be combined")
                return not negated
            if position + 1 >= len(words) or not words[position + 1]:
                raise BadLine(f"match {name} has no value")
            value = self._criterion(name)
            patterns = words[position + 1]
            if name in {"host", "originalhost"}:
                patterns = patterns.lower()
                value = value.lower()
            met = met and matches_list(value, patterns.split(",")) != negated
            position += 2
        return met

    def _criterion(self, name: str) -> str:
        if name == "originalhost":
            return self.host
        if name == "host":
            named = self.values.get("hostname", [self.host])[0]
            return expand_host_name(named, self.host)
        if name == "localuser":
            return _myself()
        return self.values.get("user", [_myself()])[0]


def _myself() -> str:
    """The user name of the passwd entry, which ssh uses, whatever $USER is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
