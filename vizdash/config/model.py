"""What a configuration says, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vizdash.model import Resources

#: Ports of the direct route: the range of the site that vizdash comes from.
DEFAULT_PORTS = (6080, 6099)
DEFAULT_IMAGE_ROOT = "/opt/apptainers/apps"


@dataclass(frozen=True, slots=True)
class App:
    """A catalogue entry: what a user picks to start.

    ``runtime`` is ``apptainer``, ``host``, or ``auto`` (apptainer under Slurm; on the local
    engine where Apptainer and the image are there, else host). ``command`` is a bash command
    line inside the image (empty: the image's runscript), ``host_command`` one on the host.
    ``kind`` is ``legacy`` for a job script that knows SESSION_ID and VNC_PORT only and leaves
    an info file in /tmp on the node; its image's known password is ``vnc_password``.
    """

    name: str
    title: str = ""
    kind: str = "vizdash"
    runtime: str = "auto"
    image: str = ""
    command: str = ""
    host_command: str = ""
    script: str = "vnc.sh"
    vnc_password: str = field(default="", repr=False)
    resources: Resources = Resources()
    presets: Mapping[str, Resources] = field(default_factory=dict)
    geometry: str = "1280x720"
    binds: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster. ``engine`` is ``auto``, ``slurm`` or ``local``; an empty ``partition`` is
    Slurm's default one. ``ports`` is the inclusive range of the direct route.
    """

    name: str
    engine: str = "auto"
    partition: str = ""
    account: str = ""
    qos: str = ""
    route: str = "tunnel"
    ports: tuple[int, int] = DEFAULT_PORTS
    image_root: str = DEFAULT_IMAGE_ROOT
    job_scripts: str = "/etc/vizdash/jobs"
    ready_timeout_s: int = 60
    refresh_s: int = 10
    binds: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    cluster: Cluster
    clusters: Mapping[str, Cluster]
    apps: Mapping[str, App]
    read_only: bool = False
