"""Who may change images, known before anything is tried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.images.answers import answer
from vizdash.config import App, Cluster, Config, Deploy
from vizdash.errors import Refused
from vizdash.images.shell import NodeShell
from vizdash.imaging import Imaging
from vizdash.model import Matrix, Place
from vizdash.service import Service
from vizdash.transport.base import Command, Result


class Person:
    """Answers id(1); counts how often sudo was tried on a node, and lets it or not."""

    def __init__(self, name: str, groups: str = "", *, sudo: bool = False) -> None:
        self.name, self.groups, self.sudo = name, groups, sudo
        self.tried = 0

    async def run(self, command: Command) -> Result:
        if command.argv[0] == "sh":
            return Result(0, f"{self.name}\n{self.groups}\n", "")
        by_sudo = "sudo -n" in command.argv[-1]
        self.tried += by_sudo
        if by_sudo and not self.sudo:
            return Result(1, "", "sudo: a password is required\n")
        fields = ["vizdash-images", "1", "place", "x86_64", "root" if by_sudo else self.name]
        fields += ["1" if by_sudo else "0", "9", "9", "rsync flock sudo", "1"]
        return answer(command, *fields)

    def has(self, program: str) -> bool:
        return True


def imaging(person: Person, *, remote: object = None, **deploy: object) -> Imaging:
    cluster = Cluster("viz", host="me@login", deploy=Deploy(**deploy))  # type: ignore[arg-type]
    config = Config(cluster, {}, {"gedit": App("gedit")})
    shell = NodeShell(person, cluster.deploy)
    service = SimpleNamespace(
        config=config,
        remote=remote,
        images=SimpleNamespace(shell=shell),
        app=config.apps.__getitem__,
    )
    return Imaging(cast("Service", service))


MATRIX = Matrix((), (Place("n1", user="anna", tools=("rsync", "flock")),))


async def test_who_may_write_there_may_deploy() -> None:
    person = Person("root")
    writable = Matrix((), (Place("n1", writable=True),))
    assert await imaging(person).rights(writable) == ""
    assert person.tried == 0


async def test_sudo_is_not_tried_for_just_anybody() -> None:
    person = Person("anna", "users", sudo=True)
    why = await imaging(person).rights(MATRIX)
    assert why.startswith("anna may not write /opt/apptainers/apps on the nodes")
    assert "the deploy account" in why
    assert person.tried == 0


@pytest.mark.parametrize("admins", [("anna",), ("@users",)])
async def test_those_whom_the_config_names_may_by_sudo(admins: tuple[str, ...]) -> None:
    person = Person("anna", "users", sudo=True)
    assert await imaging(person, admins=admins).rights(MATRIX) == ""
    assert person.tried == 1


async def test_who_asks_for_a_change_is_told_what_sudo_says() -> None:
    person = Person("anna", "users")
    why = await imaging(person).rights(MATRIX, asked=True)
    assert "sudo says: a password is required" in why
    assert await imaging(person, sudo="never").rights(MATRIX, asked=True) != ""
    assert person.tried == 1


async def test_no_node_that_answers_is_a_reason() -> None:
    gone = Matrix((), (Place("n1", failure="No route to host"),))
    why = await imaging(Person("root")).rights(gone)
    assert why == "no node can be reached: No route to host"


async def test_from_a_laptop_the_image_host_is_named() -> None:
    far = imaging(Person("anna"), remote=object())
    assert "ssh me@login vizdash" in await far.rights(MATRIX)
    with pytest.raises(Refused, match="ssh me@login"):
        await far.plan("gedit")
