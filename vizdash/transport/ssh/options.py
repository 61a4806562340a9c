"""HostSettings as asyncssh's own options: everything said, so that it reads no file."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_certificate_algs, get_public_key_algs

from vizdash.transport.ssh.needs import GSSAPI, NeedsOpenSsh
from vizdash.transport.ssh.settings import HostSettings

_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}

#: What asyncssh would else take from a file or its own defaults.
_FIXED: dict[str, Any] = {
    "config": None,
    "host_based_auth": False,
    "gss_host": None,
    "gss_kex": False,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": [],
    "client_keys": None,
    "agent_path": None,
    "pkcs11_provider": None,
    "x11_forwarding": False,
    "agent_forwarding": False,
    "command": None,
    "env": None,
    "send_env": None,
    "request_pty": False,
    "login_timeout": 0,
    "connect_timeout": None,
}


def connection_options(
    settings: HostSettings, host_key_algorithms: Sequence[str]
) -> dict[str, Any]:
    """Keyword arguments of ``asyncssh.connect``, but for keys, known hosts and the way there.

    No X11 and no agent is forwarded, whatever the person's file says. Raises NeedsOpenSsh where
    no algorithm is left that asyncssh has.
    """
    options: dict[str, Any] = _FIXED | {
        "username": settings.user,
        "port": settings.port,
        "host_key_alias": settings.alias or None,
        "family": _FAMILIES.get(settings.address_family, socket.AF_UNSPEC),
        "local_addr": (settings.bind_address, 0) if settings.bind_address else None,
        "tcp_keepalive": settings.tcp_keepalive,
        "canonicalize_hostname": False,
        "compression_algs": ["zlib@openssh.com", "none"] if settings.compression else ["none"],
        # Kerberos is not used here, only heard of; ssh too has it before the others.
        "preferred_auth": [*[GSSAPI] * settings.gssapi, *settings.methods] or ["none"],
        "public_key_auth": "publickey" in settings.methods,
        "kbdint_auth": "keyboard-interactive" in settings.methods,
        "password_auth": "password" in settings.methods,
    }
    lists: tuple[tuple[str, str, Callable[[], list[bytes]]], ...] = (
        ("kex_algs", "kexalgorithms", get_kex_algs),
        ("encryption_algs", "ciphers", get_encryption_algs),
        ("mac_algs", "macs", get_mac_algs),
        ("signature_algs", "pubkeyacceptedalgorithms", get_public_key_algs),
    )
    for option, keyword, supported in lists:
        if keyword in settings.algorithms:
            options[option] = _known(settings, keyword, settings.algorithms[keyword], supported())
    if host_key_algorithms:
        known = [*get_public_key_algs(), *get_certificate_algs()]
        options["server_host_key_algs"] = _known(
            settings, "hostkeyalgorithms", host_key_algorithms, known
        )
    return options


def _known(
    settings: HostSettings, keyword: str, wanted: Sequence[str], supported: Sequence[bytes]
) -> list[str]:
    """Those that asyncssh has: one that it does not know is an error to it."""
    names = {algorithm.decode() for algorithm in supported}
    left = [algorithm for algorithm in wanted if algorithm in names]
    if not left:
        why = f"{keyword} leaves none that vizdash has: {','.join(wanted)}"
        raise NeedsOpenSsh(settings.name, why)
    return left
