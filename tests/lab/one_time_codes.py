"""One-time codes at login: the code on a user's phone, and an sshd that asks for it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Iterator

from tests.lab.host import Host
from tests.lab.outside import sshd

_STEP_S = 30
_SERVICE = "sshd-otp"
#: The key first, then the code: two methods, both needed (sshd_config(5), AuthenticationMethods).
SETTINGS = (
    "UsePAM yes",
    f"PAMServiceName {_SERVICE}",
    "KbdInteractiveAuthentication yes",
    "AuthenticationMethods publickey,keyboard-interactive:pam",
)
_PAM = """auth required pam_google_authenticator.so
account required pam_permit.so
session required pam_permit.so
"""


def code(secret: str, when: float | None = None) -> str:
    """The current six digits by RFC 6238 (HMAC-SHA-1, steps of 30 s)."""
    step = int((time.time() if when is None else when) // _STEP_S)
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", step), hashlib.sha1).digest()
    place = digest[-1] & 15
    number = struct.unpack(">I", digest[place : place + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"


@contextlib.contextmanager
def otp_secret(host: Host, user: str = "alice") -> Iterator[str]:
    """Give a user a new secret, each code of which works only once, and the PAM service that
    asks for one; yields the secret.
    """
    secret = base64.b32encode(secrets.token_bytes(20)).decode()
    (host.root / "etc/pam.d" / _SERVICE).write_text(_PAM)
    path = f"/home/{user}/.google_authenticator"
    text = f'{secret}\n" DISALLOW_REUSE\n" WINDOW_SIZE 3\n" TOTP_AUTH\n'
    host.run(["sh", "-c", f"umask 077; rm -f {path}; cat > {path}"], user=user, input=text)
    try:
        yield secret
    finally:
        host.run(["rm", "-f", path])


@contextlib.contextmanager
def otp_sshd(host: Host, port: int, user: str = "alice") -> Iterator[str]:
    """Run an sshd on ``port`` that requires the key and then a code; yields the user's secret."""
    with otp_secret(host, user) as secret, sshd(host, port, SETTINGS):
        yield secret
