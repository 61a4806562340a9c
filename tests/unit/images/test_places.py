"""Where a build runs, and what its job asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizdash.building import Building
from vizdash.config import App, Build, Cluster, Config
from vizdash.engines.slurm import SlurmEngine
from vizdash.images.build import BuildRequest
from vizdash.images.places import place_of
from vizdash.model import Resources
from vizdash.service import Service
from vizdash.transport import Command, Result
from vizdash.transport.forward import SshForwarder

BUILD = Build(where="job", resources=Resources(4, 4097, 0, 3600))


def memory(argv: tuple[str, ...]) -> list[str]:
    return [word for word in argv if word.startswith("--mem")]


@pytest.mark.parametrize(
    ("how", "told"),
    [("mem", ["--mem=4097M"]), ("mem-per-cpu", ["--mem-per-cpu=1025M"]), ("none", [])],
)
def test_a_job_that_builds_asks_for_memory_as_the_site_wants_it(how: str, told: list[str]) -> None:
    cluster = Cluster("viz", build=BUILD, memory_request=how)
    assert memory(place_of("job", cluster, "gedit", slurm=True).argv) == told


class Site:
    """A Slurm of which only the configuration is asked for."""

    def __init__(self, parameters: str) -> None:
        self._parameters = parameters

    async def run(self, command: Command) -> Result:
        if "config" in command.argv:
            return Result(0, f"SelectTypeParameters = {self._parameters}\n", "")
        return Result(0, "", "")

    def has(self, program: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("parameters", "told"), [("CR_CORE_MEMORY", ["--mem=4097M"]), ("CR_CORE", [])]
)
async def test_where_memory_is_not_tracked_it_asks_for_none(
    parameters: str, told: list[str], tmp_path: Path
) -> None:
    cluster = Cluster("viz", build=BUILD, image_store=str(tmp_path))
    site, app = Site(parameters), App("gedit")
    config = Config(cluster, {"viz": cluster}, {"gedit": app})
    service = Service(config, SlurmEngine(site, user="alice"), site, SshForwarder())
    plan = await Building(service).prepare(BuildRequest("gedit", version="1.0"))
    assert memory(plan.place.argv) == told
