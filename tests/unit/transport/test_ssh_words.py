"""What ssh(1) says of a node's host key, as recorded from OpenSSH 9.2 with BatchMode."""

from __future__ import annotations

import pytest

from vizdash.transport.ssh_words import node_failure

UNKNOWN = "Host key verification failed.\r\n"
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
Offending ED25519 key in /home/alice/.ssh/known_hosts:7\r
Host key for n1 has changed and you have requested strict checking.\r
Host key verification failed.\r
"""
REVOKED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@       WARNING: REVOKED HOST KEY DETECTED!               @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
ED25519 host key for n1 was revoked and you have requested strict checking.\r
Host key verification failed.\r
"""


NO_FILE = (
    "n1: its host key is in neither ~/.ssh/known_hosts nor /etc/ssh/ssh_known_hosts on login "
    "(run `ssh n1` on login once and compare the fingerprint)"
)
OTHER = (
    "n1: its host key is not the one in /home/alice/.ssh/known_hosts:7 on login "
    "(ask its administrators; if it is right, remove that line)"
)


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        (UNKNOWN, NO_FILE),
        (CHANGED, OTHER),
        (REVOKED, "n1: its host key is revoked on login (ask its administrators)"),
        ("", "n1: ssh ended without a word (does `ssh n1` on login work for you?)"),
    ],
)
def test_host_file_and_fix_are_named(stderr: str, line: str) -> None:
    assert node_failure("n1", "n1", stderr, where="login").line == line
