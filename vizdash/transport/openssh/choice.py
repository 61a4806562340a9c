"""Which SSH makes a login, vizdash's own or ssh(1), and why."""

from __future__ import annotations

from dataclasses import dataclass

from vizdash.transport.openssh.control import find_master
from vizdash.transport.ssh.needs import find_need
from vizdash.transport.ssh.route import read_route
from vizdash.transport.ssh.settings import Target


@dataclass(frozen=True, slots=True)
class Choice:
    """``openssh`` is whether ssh(1) makes the login; ``why`` is for people. ``shared`` is the
    control socket of a connection that the person has already ("": none).
    """

    openssh: bool
    why: str
    shared: str = ""

    @property
    def words(self) -> str:
        """In one line."""
        return f"by {'OpenSSH' if self.openssh else 'the built-in SSH'}: {self.why}"


async def choose(target: Target, wanted: str) -> Choice:
    """Choose for a host, as the config's ``ssh`` wants it: ``auto``, ``openssh`` or ``builtin``.

    Raises Refused where ssh(1) refuses the settings, or where its jump hosts lead in a circle:
    ssh would start itself without end.
    """
    if wanted == "builtin":
        return Choice(openssh=False, why="`ssh: builtin` in the config")
    route = await read_route(target)
    path = route[0].control_path
    if path and await find_master(path):
        return Choice(openssh=True, why=f"your own connection at {path} is shared", shared=path)
    if wanted == "openssh":
        return Choice(openssh=True, why="`ssh: openssh` in the config")
    for settings in route:
        if need := await find_need(settings):
            return Choice(openssh=True, why=need)
    return Choice(openssh=False, why="nothing in your ssh settings needs OpenSSH")
