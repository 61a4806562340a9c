"""``make pyz``: one file that runs vizdash without being installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pyz") / "vizdash.pyz"
    done = subprocess.run(
        [str(ROOT / "scripts/make-pyz"), str(Path(sys.executable).parents[1]), str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return file


def run(pyz: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # Without this environment's packages: all that it needs is in the file.
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "SHIV_ROOT": str(home / "shiv")}
    argv = [sys.executable, "-I", "-S", str(pyz), *words]
    return subprocess.run(argv, cwd=home, env=environ, capture_output=True, text=True, check=False)


def test_it_runs_with_no_package_installed(pyz: Path, tmp_path: Path) -> None:
    shown = run(pyz, tmp_path, "--version")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "version 0.1.0" in shown.stdout
    apps = json.loads(run(pyz, tmp_path, "apps", "--json").stdout)["apps"]
    assert {app["name"] for app in apps} >= {"desktop", "gedit", "paraview"}
    # A login host needs the compiled parts; nothing answers there.
    refused = run(pyz, tmp_path, "--host", "127.0.0.1:1", "nodes")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "127.0.0.1" in refused.stderr


def test_another_python_is_named(pyz: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("preamble.py")]
        preamble = archive.read(name).decode()
    made_for = "{}.{}".format(*sys.version_info[:2])
    code = f"import sys; sys.version_info = (3, 99); sys.argv = ['vizdash.pyz']\n{preamble}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"vizdash: vizdash.pyz: it was made for Python {made_for}, this is 3.99"
        f" (run: python{made_for} vizdash.pyz)\n"
    )
