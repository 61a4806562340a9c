"""Who may change images, decided before anything is tried."""

from __future__ import annotations

import pytest

from tests.fakes import FakeEngine, FakeRemote, service_on
from tests.unit.images.node_answers import answer
from vizdash.config import App, Cluster, Config, Deploy
from vizdash.errors import Refused
from vizdash.model import ImageRoot, Matrix, Node
from vizdash.service.image_admin import ImageAdmin
from vizdash.transport.base import Command, Remote, Result


class UserRunner:
    """Answers id(1); counts how often sudo was tried on a node, and allows it or not."""

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


def image_admin_of(
    person: UserRunner, *, remote: Remote | None = None, **deploy: object
) -> ImageAdmin:
    cluster = Cluster("viz", host="me@login", deploy=Deploy(**deploy))  # type: ignore[arg-type]
    config = Config(cluster, {}, {"gedit": App("gedit")})
    engine = FakeEngine(all_nodes=(Node("n1", "IDLE"),))
    return ImageAdmin(service_on(engine, config=config, runner=person, remote=remote))


MATRIX = Matrix((), (ImageRoot("n1", user="anna", tools=("rsync", "flock")),))


async def test_who_may_write_there_may_deploy() -> None:
    person = UserRunner("root")
    writable = Matrix((), (ImageRoot("n1", writable=True),))
    assert await image_admin_of(person).why_not_allowed(writable) == ""
    assert person.tried == 0


async def test_sudo_is_not_tried_for_just_anybody() -> None:
    person = UserRunner("anna", "users", sudo=True)
    why = await image_admin_of(person).why_not_allowed(MATRIX)
    assert why.startswith("anna may not write /opt/apptainers/apps on the nodes")
    assert "the deploy account" in why
    assert person.tried == 0


@pytest.mark.parametrize("admins", [("anna",), ("@users",)])
async def test_users_that_the_config_names_may_use_sudo(admins: tuple[str, ...]) -> None:
    person = UserRunner("anna", "users", sudo=True)
    assert await image_admin_of(person, admins=admins).why_not_allowed(MATRIX) == ""
    assert person.tried == 1


async def test_a_refusal_of_sudo_is_reported_to_who_requested_a_change() -> None:
    person = UserRunner("anna", "users")
    why = await image_admin_of(person).why_not_allowed(MATRIX, asked=True)
    assert "sudo reports: a password is required" in why
    assert await image_admin_of(person, sudo="never").why_not_allowed(MATRIX, asked=True) != ""
    assert person.tried == 1


async def test_no_node_that_answers_is_a_reason() -> None:
    gone = Matrix((), (ImageRoot("n1", failure="No route to host"),))
    why = await image_admin_of(UserRunner("root")).why_not_allowed(gone)
    assert why == "no node can be reached: No route to host"


async def test_from_a_laptop_the_image_host_is_named() -> None:
    far = image_admin_of(UserRunner("anna"), remote=FakeRemote())
    assert "ssh me@login vizdash" in await far.why_not_allowed(MATRIX)
    with pytest.raises(Refused, match="ssh me@login"):
        await far.plan_deploy("gedit")
