"""The settings of a node behind the login host, as this machine's own ssh has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vizdash.transport.ssh.known_hosts import find_host
from vizdash.transport.ssh.settings import (
    HostSettings,
    Target,
    name_with_port,
    read_settings,
)


async def read_node_settings(
    target: Target, address: str = "", names: Sequence[str] = ()
) -> HostSettings:
    """What ``ssh -G`` says of a node by its name, which is what people's settings name.

    ``address`` is the name by which the login host reaches it ("": its own); it counts where our
    settings have no HostName. ``names`` are those that Slurm has for it: where our settings have
    no HostKeyAlias and the address is in no known_hosts file, its host key is looked up under the
    first of them that is. Raises Refused.
    """
    settings = await read_settings(target)
    if not address or settings.host != target.host.lower():
        return settings
    settings = replace(settings, host=address.lower())
    if settings.alias or (await find_host(settings)).lines:
        return settings
    for name in names:
        alias = name_with_port(name.lower(), settings.port)
        named = replace(settings, alias=alias)
        if (await find_host(named)).lines:
            return named
    return settings
