"""The wheel holds everything that vizdash ships, and runs from its own folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vizdash.util import assets

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("vizdash-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vizdash alone in a folder; what it depends on comes from this environment."""
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run(
        [*pip, "--no-index", "--no-deps", "--target", str(target), str(wheel)],
        check=True,
        capture_output=True,
    )
    return target


def run(installed: Path, tmp_path: Path, *words: str) -> str:
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [str(installed / "bin/vizdash"), *words],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_example_configuration_is_in_the_wheel(
    wheel: Path, installed: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("vizdash/config.example.yaml")
    assert packed == (ROOT / "config.example.yaml").read_bytes()
    # An error names it where it lies.
    config = tmp_path / "config.yaml"
    config.write_text("clusters: {h: {engine: local}}\napps: {x: {runtime: host, command: x}}\n")
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [str(installed / "bin/vizdash"), "--config", str(config), "start", "x"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"(see {installed}/vizdash/config.example.yaml)" in done.stderr


def test_every_asset_is_in_the_wheel_as_it_is_here(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        files = (p for p in (ROOT / "assets").rglob("*") if p.is_file())
        # Tests import some of them.
        for path in (p for p in files if p.parent.name != "__pycache__"):
            name = f"vizdash/assets/{path.relative_to(ROOT / 'assets')}"
            assert archive.read(name) == path.read_bytes(), name
    assert {"vizdash/config/defaults.yaml", "vizdash/ui/vizdash.tcss"} <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """So what is tested of the wheel on one Python holds for the sdist there."""
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("vizdash-*.tar.gz")
    (tmp_path / "source").mkdir()
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path / "source"], check=True)
    (source,) = (tmp_path / "source").iterdir()
    subprocess.run([*build, "-t", "wheel"], cwd=source, check=True, capture_output=True)
    (again,) = tmp_path.glob("vizdash-*.whl")
    assert content(again) == content(wheel)


def content(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_installed_program_runs(installed: Path, tmp_path: Path) -> None:
    assert "version 0.1.0" in run(installed, tmp_path, "--version")
    found = json.loads(run(installed, tmp_path, "apps", "--json"))
    assert {app["name"] for app in found["apps"]} >= {"desktop", "gedit", "paraview"}


def test_the_installed_program_finds_its_assets(installed: Path, tmp_path: Path) -> None:
    code = (
        "from vizdash.util.assets import assets, job_script; print(assets(), job_script('vnc.sh'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        f"{installed}/vizdash/assets",
        f"{installed}/vizdash/assets/jobs/vnc.sh",
    ]


def test_a_checkout_finds_its_assets() -> None:
    assert assets.assets() == ROOT / "assets"
    assert (assets.assets() / "defs/desktop.def").is_file()
