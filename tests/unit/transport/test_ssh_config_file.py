"""The reading of ~/.ssh/config without ssh(1), against ``ssh -G``: the same, or refused.

``make ssh-configs`` does it with 10,000 files.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vizdash.errors import Refused
from vizdash.transport.ssh import config_file
from vizdash.transport.ssh.settings import HostSettings, home_folder, host_settings, parse_values

COUNT = int(os.environ.get("VIZDASH_SSH_CONFIGS", "200"))
CHUNKS = 8

NAMES = ("viz", "VIZ", "login.example.org", "other", "::1", "0:0:0:0:0:0:0:1")
PATTERNS = (
    "viz", "VIZ", "v?z", "viz*", "*", "::1", "*:*", "*.example.org", "other", "!viz", "!other",
    '"viz"', "l*g",
    "'viz'", "viz,other", "v\\?z", "[v]iz", '"viz other"', "!*.org",
)  # fmt: skip
LISTS = (
    "viz",
    "*",
    "viz,other",
    "!viz,*",
    "*,!viz",
    "login.*",
    "VIZ",
    "me",
    "me,you",
    "m?",
    '"viz"',
)
VALUES: dict[str, tuple[str, ...]] = {
    "AddKeysToAgent": ("yes", "no", "ask", "confirm", "1h", "confirm 90", "never"),
    "BatchMode": ("no", "no", "maybe"),
    "ConnectionAttempts": ("1", "3", "x"),
    "RevokedHostKeys": ("none", "none", "/revoked"),
    "Port": ("22", "2200", '"2201"', "many", "22 23", "0x16", ""),
    "User": ("me", "you", '"me you"', "dom\\joe", "'me'", "me you", "a\\ b"),
    "HostName": ("viz", "login.example.org", "%h.example.org", "10.0.0.1", "::1", "%%h", "Viz",
                 "127.1", "2001:DB8::0:1", "fe80::1%%lo"),
    "HostKeyAlias": ("viz", "Alias", '""'),
    "IdentityFile": ("~/k", "/k", '"/a b"', "none", "%d/%h", "/a /b", "/k # mine", "/k#", "/k\\ l"),
    "CertificateFile": ("/c", "none", "/d"),
    "IdentitiesOnly": ("yes", "no", "true", "YES", "maybe"),
    "IdentityAgent": ("none", "SSH_AUTH_SOCK", "/agent", "~/agent", "$AGENT", "/run/%u"),
    "UserKnownHostsFile": ("/a /b", "none", "~/a", '"/a" /b', "/a # b", ""),
    "GlobalKnownHostsFile": ("/a /b", "none"),
    "HashKnownHosts": ("yes", "no"),
    "StrictHostKeyChecking": ("yes", "no", "ask", "accept-new", "off", "true", "never"),
    "FingerprintHash": ("md5", "sha256", "MD5", "sha1"),
    "NoHostAuthenticationForLocalhost": ("yes", "no"),
    "ProxyCommand": ("none", "px %h %p # no comment", '"a b" c', "= px", "don't", "px"),
    "ProxyJump": ("none", "a", "me@a:22,b", "a,b", "a # b", "me@[::1]:4", "a:b:c", "@"),
    "ServerAliveInterval": ("1m", "60", "1h30m", "5", "1M", "5x", "-1", "0"),
    "ServerAliveCountMax": ("3", "0", "x"),
    "ConnectTimeout": ("none", "10", "1m30", "2s"),
    "NumberOfPasswordPrompts": ("1", "3"),
    "PasswordAuthentication": ("yes", "no"),
    "KbdInteractiveAuthentication": ("yes", "no"),
    "ChallengeResponseAuthentication": ("yes", "no"),
    "PubkeyAuthentication": ("yes", "no", "host-bound", "unbound"),
    "PreferredAuthentications": ("publickey", "password,publickey", "x", "publickey password"),
    "RequiredRSASize": ("2048", "1024", "0", "4096", "x", "-1"),
    "AddressFamily": ("inet", "inet6", "any", "INET", "ipv4"),
    "BindAddress": ("127.0.0.1",),
    "TCPKeepAlive": ("yes", "no"),
    "Compression": ("yes", "no", "9"),
    "Ciphers": ("aes128-ctr,aes256-ctr", "+aes128-cbc", "aes128-ctr", "-aes*"),
    "MACs": ("hmac-sha2-256", "^hmac-sha2-512"),
    "KexAlgorithms": ("curve25519-sha256",),
    "HostKeyAlgorithms": ("ssh-ed25519", "ssh-ed25519,rsa-sha2-512", "^ssh-ed25519"),
    "PubkeyAcceptedAlgorithms": ("ssh-ed25519", "+ssh-rsa"),
    "PubkeyAcceptedKeyTypes": ("ssh-ed25519",),
    "ForwardX11": ("yes", "no"),
    "ForwardAgent": ("yes", "no"),
    "ControlMaster": ("auto", "no"),
    "ControlPath": ("~/.ssh/cm-%r@%h:%p", "none"),
    "SendEnv": ("LANG LC_*",),
    "SetEnv": ("A=b",),
    "LogLevel": ("INFO", "ERROR"),
    "CanonicalizeHostname": ("no",),
    "GSSAPIAuthentication": ("yes", "no"),
    "UseKeychain": ("yes",),
    "IgnoreUnknown": ("UseKeychain", "Use*,Nonsense", "nonsense"),
    "Nonsense": ("yes",),
}  # fmt: skip


class Generator:
    """A file of random lines, and those that it includes, in ``folder``."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.made = 0

    def file(self, depth: int = 0) -> Path:
        self.made += 1
        path = self.folder / f"{self.made:02}.conf"
        lines = [self.line(depth) for _ in range(self.random.randint(1, 9 if depth else 14))]
        ending = self.random.choice(["\n"] * 6 + ["\r\n"])
        path.write_text(ending.join(lines) + self.random.choice([ending, ""]))
        path.chmod(0o600)
        return path

    def line(self, depth: int) -> str:
        pick = self.random.random()
        if pick < 0.06:
            return self.random.choice(["", "   ", "# don't", '  # "', "#", "\t# x", "\f"])
        if pick < 0.22:
            patterns = self.random.choices(PATTERNS, k=self.random.choice([1, 1, 1, 2, 3]))
            return self.dress("Host", " ".join(patterns))
        if pick < 0.38:
            return self.dress("Match", self.criteria())
        if pick < 0.44 and depth < 3:
            return self.dress("Include", self.include(depth))
        keyword = self.random.choice(list(VALUES))
        usual = VALUES[keyword][: 2 if self.random.random() < 0.8 else None]
        return self.dress(keyword, self.random.choice(usual))

    def criteria(self) -> str:
        pick = self.random.random()
        if pick < 0.15:
            return self.random.choice(["all", "all", "!all", "all host viz", "host", "", "host ''"])
        if pick < 0.2:
            return self.random.choice(
                ['exec "true"', "final", "canonical all", "tagged x", "odd x"]
            )
        kinds = self.random.choices(("host", "originalhost", "user", "localuser"), k=2)
        words = []
        for kind in kinds[: self.random.choice([1, 1, 2])]:
            sign = self.random.choice(["", "", "", "!"])
            between = self.random.choice([" ", " ", " ", "=", "  "])
            words.append(f"{sign}{kind}{between}{self.random.choice(LISTS)}")
        return " ".join(words)

    def include(self, depth: int) -> str:
        pick = self.random.random()
        if pick < 0.15:
            return f"{self.folder}/nowhere"
        first, second = self.file(depth + 1), self.file(depth + 1)
        if pick < 0.6:
            return str(first)
        return self.random.choice([f"{second} {first}", f"{self.folder}/[0-9]{second.name[1:]}"])

    def dress(self, keyword: str, value: str) -> str:
        """Case, indent, what lies between, a comment, what a NUL hides."""
        r = self.random
        keyword = r.choice([keyword, keyword, keyword.lower(), keyword.upper()])
        between = r.choice([" ", " ", " ", "\t", "=", " = ", "  ", "= "])
        tail = r.choice(["", "", "", "", " ", " # mine", " #don't", "\t", "\0na"])
        return f"{r.choice(['', '', '  ', chr(9), '    '])}{keyword}{between}{value}{tail}"


def by_ssh(ssh: str, file: Path, name: str) -> tuple[int, str, str]:
    """What ``ssh -G`` says; it resolves nothing and runs nothing but ``true``."""
    done = subprocess.run(
        [ssh, "-T", "-G", "-F", str(file), "--", name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    return done.returncode, done.stdout, done.stderr


@cache
def usual_algorithms(ssh: str) -> dict[str, tuple[str, ...]]:
    values = parse_values(by_ssh(ssh, Path("/dev/null"), "x")[1])
    return dict(host_settings("x", values).algorithms)


def same(ours: HostSettings, theirs: HostSettings, ssh: str) -> None:
    """Equal; where we say nothing of algorithms, ssh has its own."""
    usual = usual_algorithms(ssh)
    for keyword, algorithms in theirs.algorithms.items():
        assert ours.algorithms.get(keyword, usual[keyword]) == algorithms, keyword
    # Its list of default keys has two more, of kinds that are gone.
    gone = {"id_xmss", "id_dsa"}
    files = tuple(file for file in theirs.identity_files if file.name not in gone)
    # What ssh(1) alone can do means nothing where there is none.
    nothing: dict[str, Any] = {
        "algorithms": {},
        "control_path": "",
        "gssapi": False,
        "only_ssh": (),
    }
    assert replace(ours, **nothing) == replace(theirs, **nothing, identity_files=files)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_generated_files(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = shutil.which("ssh")
    assert ssh
    monkeypatch.setenv("AGENT", "/agent")
    read = 0
    for seed in range(chunk, COUNT, CHUNKS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        generator = Generator(seed, folder)
        file = generator.file()
        name = generator.random.choice(NAMES)
        texts = "\n".join(f"--- {p.name}\n{p.read_text()}" for p in sorted(folder.iterdir()))
        code, stdout, stderr = by_ssh(ssh, file, name)
        try:
            values = config_file.read_values(name, "", 0, "", home_folder(), files=[file])
        except Refused as e:
            refusal = e.line
        else:
            refusal = ""
        if refusal:
            assert code or "not supported" in refusal, f"seed {seed}, {name}: {refusal}\n{texts}"
            continue
        assert code == 0, f"seed {seed}, {name}: ssh refuses it: {stderr}\n{texts}"
        try:
            same(host_settings(name, values), host_settings(name, parse_values(stdout)), ssh)
        except AssertionError as e:
            raise AssertionError(f"seed {seed}, {name}: {e}\n{texts}") from e
        read += 1
        shutil.rmtree(folder)
    # Not all of them may be refused: what is supported is seen.
    assert read > COUNT / CHUNKS / 10
