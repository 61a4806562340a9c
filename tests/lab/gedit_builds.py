"""Builds gedit from its definition file, on a host with the package mirror and the lab's home."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

from tests.lab import Host, Lab, recipe
from vizdash.util.assets import assets

#: The deploy account.
ADMIN = "vizadmin"
HOME = f"/home/{ADMIN}"
_CONFIG = f"""
clusters:
  lab:
    image_store: {HOME}/store
    build:
      definitions: {HOME}/defs
"""
#: The build host is not part of the cluster.
_BUILD = f"""{_CONFIG}
      arguments: {{bootstrap: localimage, base: /mnt/run/base.sif}}
      options: [--mksquashfs-args, "{recipe.SQUASHFS}"]
      tmpdir: /mnt/run/tmp
    engine: local
"""


@contextlib.contextmanager
def build_host(lab: Lab) -> Iterator[Host]:
    """Start a host with this machine's network, the lab's home and base image, and vizdash."""
    run = lab.run / "builder-files"
    run.mkdir(mode=0o777)
    (run / "home").symlink_to(lab.run / "home")
    (run / "base.sif").hardlink_to(recipe.CACHE / f"base-{recipe.base_key()}.sif")
    root, _ = Lab.build()
    host = Host("builder", run, str(root), "bare")
    try:
        host.wait_up()
        shutil.copy("/etc/resolv.conf", host.root / "etc/resolv.conf")
        # The lab's /tmp is small; a site's need not be.
        host.run("chmod 755 /mnt/run && mkdir -m 1777 /mnt/run/tmp")
        lab.install_vizdash(host)
        yield host
    finally:
        host.power_off()
        shutil.rmtree(run, ignore_errors=True)


def write_admin_config(lab: Lab) -> None:
    """Write the deploy account's configuration in the home that all hosts share."""
    lab.login.run("mkdir -p .config/vizdash defs", user=ADMIN)
    for path, text in ((".config/vizdash/config.yaml", _CONFIG), ("build.yaml", _BUILD)):
        lab.login.run(["tee", path], user=ADMIN, input=text)


def build_gedit(host: Host, version: str) -> tuple[dict[str, Any], str]:
    """Run ``vizdash build gedit`` as an ordinary user; returns its JSON and its stderr."""
    words = ["vizdash", "--config", "build.yaml", "build", "gedit", "--version", version, "--json"]
    done = host.run(words, user=ADMIN, timeout=800)
    found: dict[str, Any] = json.loads(done.stdout)["image"]
    return found, done.stderr


def add_package_to_definition(lab: Lab, package: str) -> None:
    """Give the site its own definition file for gedit, with one package more than ours."""
    text = (assets() / "defs/gedit.def").read_text(encoding="utf-8")
    assert text.count("openbox gedit ") == 1
    text = text.replace("openbox gedit ", f"openbox gedit {package} ")
    lab.login.run(["tee", "defs/gedit.def"], user=ADMIN, input=text)
