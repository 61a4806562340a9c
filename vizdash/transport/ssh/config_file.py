"""~/.ssh/config, read without ssh(1): a documented subset, and the rest is refused in one line.

After OpenSSH's readconf.c. Host, Match (all, host, originalhost, user, localuser), Include and
the keywords of _VALUES are supported; _ELSEWHERE are keywords that vizdash has no use for. What
needs ssh itself (Match exec, canonical and final, CanonicalizeHostname, lists of algorithms that
begin with +, - or ^, KnownHostsCommand ...) is refused. Names of algorithms are checked where they
are used.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vizdash.errors import Refused
from vizdash.transport.ssh.config_words import (
    Bad,
    expand_host_name,
    is_listed,
    match_words,
    matches_host,
    one_word,
    split_keyword,
    split_words,
)

_SYSTEM = Path("/etc/ssh/ssh_config")
_DEPTH = 16  # readconf.c, READCONF_MAX_DEPTH
_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
_HOP = re.compile(r"([^\s@,\"'#\\/]+@)?(\[[0-9A-Za-z:.%]+\]|[^\s@,:\"'#\\/\[\]]+)(:[0-9]{1,5})?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FIX = "it is read by vizdash itself, since there is no ssh here: install OpenSSH's client"


def _flag(text: str) -> str:
    if text.lower() not in {"yes", "no", "true", "false"}:
        raise Bad(f"{text} is neither yes nor no")
    return "yes" if text.lower() in {"yes", "true"} else "no"


def _number(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Bad(f"{text} is no number")
    return str(int(text))


def _seconds(text: str) -> str:
    """A time (sshd_config(5), TIME FORMATS) in seconds."""
    if text.lower() == "none":
        return "none"
    if not re.fullmatch(r"([0-9]+[smhdw]?)+", text, re.IGNORECASE):
        raise Bad(f"{text} is no time")
    parts = re.findall(r"([0-9]+)([smhdw]?)", text.lower())
    return str(sum(int(number) * _UNITS[unit] for number, unit in parts))


def _text(text: str) -> str:
    return text


def _algorithms(text: str) -> str:
    if text[:1] in {"+", "-", "^"} or "*" in text:
        raise Bad(f"a list that builds on ssh's own ({text}) is not supported")
    return text


def _one_of(**values: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        key = text.lower().replace("-", "_")
        if key not in values:
            raise Bad(f"{text} is not supported")
        return values[key]

    return check


#: Keyword: how its one value is checked and written as ``ssh -G`` writes it.
_VALUES: Mapping[str, Callable[[str], str]] = {
    "addressfamily": _one_of(any="any", inet="inet", inet6="inet6"),
    "bindaddress": _text,
    "ciphers": _algorithms,
    "compression": _flag,
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
#: Values that add up, and those of which the first line counts whole.
_ADDED, _LISTS = {"identityfile", "certificatefile"}, {"userknownhostsfile", "globalknownhostsfile"}
#: No use for them here; their values are not checked.
_ELSEWHERE = frozenset(
    """addkeystoagent batchmode canonicaldomains canonicalizefallbacklocal canonicalizemaxdots
    canonicalizepermittedcnames casignaturealgorithms checkhostip clearallforwardings
    connectionattempts controlmaster controlpath controlpersist dynamicforward
    enableescapecommandline enablesshkeysign escapechar exitonforwardfailure
    forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted
    gatewayports gssapiauthentication gssapidelegatecredentials hostbasedacceptedalgorithms
    hostbasedauthentication ipqos kbdinteractivedevices localcommand localforward loglevel
    logverbose permitlocalcommand permitremoteopen rekeylimit remotecommand remoteforward
    requesttty requiredrsasize revokedhostkeys sendenv sessiontype setenv stdinnull
    streamlocalbindmask streamlocalbindunlink syslogfacility tunnel tunneldevice updatehostkeys
    verifyhostkeydns visualhostkey xauthlocation""".split()  # noqa: SIM905
)
_SUBSET_MATCH = {"all", "host", "originalhost", "user", "localuser"}


def read_values(
    host: str, user: str, port: int, jumps: str, home: str, *, files: Sequence[Path] = ()
) -> dict[str, list[str]]:
    """What the person's and the system's files say of a host, as ``ssh -G`` would print it.

    ``files`` are read in their stead, as the person's own. Raises Refused, naming file and line,
    for what is wrong or not supported.
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
    if "hostname" in values:
        values["hostname"] = [expand_host_name(values["hostname"][0], host)]
    values.setdefault("user", [_myself()])
    values.setdefault("identityfile", [f"~/.ssh/{name}" for name in _DEFAULT_KEYS])
    values.setdefault("userknownhostsfile", ["~/.ssh/known_hosts ~/.ssh/known_hosts2"])
    values.setdefault(
        "globalknownhostsfile", ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"]
    )
    return values


@dataclass
class _Reading:
    """The files' values so far: the first one of each keyword counts."""

    host: str
    home: str
    values: dict[str, list[str]] = field(default_factory=dict)
    unknown_allowed: list[str] = field(default_factory=list)
    active: bool = True

    def read(self, file: Path, *, personal: bool, never: bool, depth: int) -> None:
        """One file. ``never``: it is included by a block that is not for this host."""
        if depth > _DEPTH:
            raise Refused(str(file), "files include each other without end", _FIX)
        try:
            text = file.read_text("utf-8", "surrogateescape")
        except OSError:
            return
        self.active = self.active if depth else True
        for number, line in enumerate(text.split("\n"), 1):
            try:
                for path in self._line(line, personal=personal, never=never):
                    before = self.active
                    inner = never or not before
                    self.read(path, personal=personal, never=inner, depth=depth + 1)
                    self.active = before
            except Bad as e:
                raise Refused(f"{file}:{number}", str(e), _FIX) from e

    def _line(self, line: str, *, personal: bool, never: bool) -> Iterator[Path]:
        """Take in one line; yields the files that it includes."""
        # A form feed counts as blank at the end of a line alone, and not as its first character.
        line = (line[:1] + line[1:].rstrip(" \t\r\f")).lstrip(" \t\r")
        keyword, rest = split_keyword(line)
        if not keyword or keyword.startswith("#"):
            return
        keyword = _ALIASES.get(keyword, keyword)
        if not rest:
            raise Bad(f"{keyword} has no value")
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
                self.unknown_allowed = one_word(keyword, words).lower().split(",")
        else:
            self._set(keyword, words, rest)

    def _set(self, keyword: str, words: list[str], rest: str) -> None:
        """A keyword with a value, checked also where the block is for other hosts."""
        if keyword in _VALUES:
            value = _VALUES[keyword](one_word(keyword, words))
            # A time of "none" is none: the next line counts.
            if self.active and not (_VALUES[keyword] is _seconds and value == "none"):
                self.values.setdefault(keyword, [value])
        elif keyword in _ADDED:
            value = one_word(keyword, words)
            kept = self.values.get(keyword, [])
            if self.active and value not in kept:
                self.values[keyword] = [*kept, value]
        elif keyword in _LISTS:
            if any(re.search(r"\s", word) for word in words) or not all(words):
                raise Bad(f"{keyword} with blanks in a name is not supported")
            if self.active and words:
                self.values.setdefault(keyword, [" ".join(words)])
        elif keyword in {"proxycommand", "proxyjump"}:
            self._proxy(keyword, rest)
        elif keyword == "canonicalizehostname" and one_word(keyword, words).lower() in {
            "no",
            "false",
        }:
            return
        elif keyword not in _ELSEWHERE and not is_listed(keyword, self.unknown_allowed):
            raise Bad(f"{keyword} is not supported")

    def _proxy(self, keyword: str, rest: str) -> None:
        """The first of ProxyCommand and ProxyJump counts, be it ``none``."""
        rest = rest.lstrip(" \t=")  # any number of them, unlike elsewhere
        if not rest:
            raise Bad(f"{keyword} has no value")
        hops = rest.split(",")
        if keyword == "proxyjump" and not all(_HOP.fullmatch(hop) for hop in hops):
            raise Bad(f"proxyjump {rest} is not supported")
        if self.active and not {"proxycommand", "proxyjump"} & set(self.values):
            self.values[keyword] = [rest]

    def _included(self, pattern: str, *, personal: bool) -> list[Path]:
        if not pattern:
            raise Bad("include has an empty name")
        if pattern.startswith("~") and not personal:
            raise Bad(f"{pattern} in the system's file is refused by ssh too")
        if pattern == "~" or pattern.startswith("~/"):
            pattern = self.home + pattern[1:]
        elif pattern.startswith("~"):
            try:
                pattern = str(Path(pattern).expanduser())
            except RuntimeError:  # ~name of nobody: a pattern that nothing matches, as for ssh
                return []
        if not pattern.startswith("/"):
            pattern = f"{self.home}/.ssh/{pattern}" if personal else f"/etc/ssh/{pattern}"
        found = glob.glob(pattern)  # noqa: PTH207  a pattern of the person's, as glob(3) has it
        return [Path(name) for name in sorted(found, key=os.fsencode)]

    def _match(self, rest: str) -> bool:
        """Whether the criteria of a Match line are met; all are read, met or not."""
        words = list(match_words(rest))
        if not words:
            raise Bad("match has no criteria")
        met = True
        position = 0
        while position < len(words):
            negated, name = words[position].startswith("!"), words[position].lower().lstrip("!")
            if name not in _SUBSET_MATCH:
                raise Bad(f"match {name} is not supported")
            if name == "all":
                if len(words) > 1:
                    raise Bad("match all can't be combined")
                return not negated
            if position + 1 >= len(words) or not words[position + 1]:
                raise Bad(f"match {name} has no value")
            value = self._criterion(name)
            patterns = words[position + 1]
            if name in {"host", "originalhost"}:
                patterns = patterns.lower()
                value = value.lower()
            met = met and is_listed(value, patterns.split(",")) != negated
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
    """The user of the passwd entry, as ssh has it, whatever $USER is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
