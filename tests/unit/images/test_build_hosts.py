"""Where a build runs, and which resources its job requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizdash.config import App, Build, Cluster, Config
from vizdash.engines.slurm import SlurmEngine
from vizdash.images.build import BuildRequest
from vizdash.images.build_hosts import find_build_host
from vizdash.model import Resources
from vizdash.service.builds import ImageBuilder
from vizdash.service.service import Service
from vizdash.transport import Command, Result
from vizdash.transport.forwarders import SshForwarder

BUILD = Build(where="job", resources=Resources(4, 4097, 0, 3600))


def memory(argv: tuple[str, ...]) -> list[str]:
    return [word for word in argv if word.startswith("--mem")]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mem", ["--mem=4097M"]), ("mem-per-cpu", ["--mem-per-cpu=1025M"]), ("none", [])],
)
def test_a_build_job_requests_memory_as_the_site_requires(how: str, expected: list[str]) -> None:
    cluster = Cluster("viz", build=BUILD, memory_request=how)
    assert memory(find_build_host("job", cluster, "gedit", slurm=True).argv) == expected


class ConfiguredSlurm:
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
    ("parameters", "expected"), [("CR_CORE_MEMORY", ["--mem=4097M"]), ("CR_CORE", [])]
)
async def test_where_memory_is_not_tracked_it_asks_for_none(
    parameters: str, expected: list[str], tmp_path: Path
) -> None:
    cluster = Cluster("viz", build=BUILD, image_store=str(tmp_path))
    site, app = ConfiguredSlurm(parameters), App("gedit")
    config = Config(cluster, {"viz": cluster}, {"gedit": app})
    service = Service(config, SlurmEngine(site, user="alice"), site, SshForwarder())
    plan = await ImageBuilder(service).plan_build(BuildRequest("gedit", version="1.0"))
    assert memory(plan.host.argv) == expected
