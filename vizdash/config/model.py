"""What a configuration says, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vizdash.model import Resources

#: The cluster's name when a config has none.
HERE = "here"
#: Ports of the direct route: the range of the site that vizdash comes from.
DEFAULT_PORTS = (6080, 6099)
DEFAULT_IMAGE_ROOT = "/opt/apptainers/apps"
DEFAULT_AUDIT_LOG = "/var/log/vizdash/images.jsonl"


@dataclass(frozen=True, slots=True)
class App:
    """A catalogue entry: what a user picks to start.

    ``runtime`` is ``apptainer``, ``host``, or ``auto`` (apptainer under Slurm; on the local
    engine where Apptainer and the image are there, else host). ``command`` is a bash command
    line inside the image (empty: the image's runscript), ``host_command`` one on the host.
    A session ends with its app: with the command's first process (``ends_with`` is ``process``)
    or, for a launcher that forks and returns, with its last window (``windows``).
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
    ends_with: str = "process"
    script: str = "vnc.sh"
    vnc_password: str = field(default="", repr=False)
    resources: Resources = Resources()
    presets: Mapping[str, Resources] = field(default_factory=dict)
    geometry: str = "1280x720"
    binds: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Build:
    """How images are built. ``where`` is ``here``, ``job`` or a host that ssh(1) knows.

    ``definitions`` is a folder of the site's own definition files, looked into before the ones
    that vizdash brings; ``arguments`` are values for the ``{{ name }}`` in them (``bootstrap``
    and ``base`` for a site that builds from a local base), ``options`` further words for
    ``apptainer build``. ``tmpdir`` is where the file system is put together on the building
    machine (empty: its TMPDIR or /tmp). ``resources`` are those of a job that builds.
    """

    where: str = "here"
    definitions: str = "/etc/vizdash/defs"
    arguments: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    tmpdir: str = ""
    resources: Resources = Resources(cores=4, memory_mib=4096, time_s=7200)


@dataclass(frozen=True, slots=True)
class Deploy:
    """How images get to the nodes, and who may bring them there.

    ``method`` is ``rsync`` (from the image host to each node), ``auto`` (for four nodes or more, a
    first copy goes from node to node and an update is one delta; all else by rsync), ``chain`` (the
    same from two nodes on) or ``shared`` (one copy on a file system that all nodes mount). ``user``
    is the name for ssh(1)
    to the nodes (empty: one's own); ``sudo`` is ``auto`` (where one's own rights do not suffice),
    ``always`` or ``never``. ``admins`` are the users and ``@groups`` that may deploy besides root
    and who can write there anyway. ``signed`` demands a signature that verifies. ``inventory`` is
    the world-readable list of what every node has (empty: in the image root of the image host).
    ``mounted_on`` are hosts beside the nodes that mount a shared image root, as a node set.
    """

    method: str = "auto"
    user: str = ""
    sudo: str = "auto"
    owner: str = "root:root"
    mode: str = "0644"
    at_once: int = 8
    signed: bool = False
    inventory: str = ""
    mounted_on: str = ""
    admins: tuple[str, ...] = ("@sudo", "@wheel", "@admin")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster. ``engine`` is ``auto``, ``slurm`` or ``local``; an empty ``partition`` is
    Slurm's default one. ``ports`` is the inclusive range of the direct route. Built images wait
    for their deploy in ``image_store`` (empty: a folder of the user's own data); ``audit_log``
    is the file that tells who did what to the images. ``handoff_host`` is this host as a person's
    own computer calls it, with ``{host}`` for its short name (empty: its own full name).

    ``state_dir`` is where session folders are, with ``%u`` for the user's name, the same on the
    login host and the nodes (empty: the user's home).

    ``host`` (``[user@]host[:port]``) is the login host of a cluster that this machine is no part
    of, reached by SSH. ``tunnel`` is the way to a node: ``ssh`` (the login host's own), ``srun``
    (a step of the session's job), ``hop`` (this machine's keys), or ``auto``: found by trying.
    ``ssh`` is what logs in there: ``builtin`` (vizdash's own), ``openssh`` (this machine's ssh), or
    ``auto``: builtin unless something needs OpenSSH.
    ``forward_agent`` lends your SSH agent to commands on that host, whatever ~/.ssh/config says.

    ``memory_request`` is how jobs ask for memory: ``mem``, ``mem-per-cpu``, or ``none`` (the
    site's default; where Slurm does not track memory, none is asked for whatever it says).
    """

    name: str
    engine: str = "auto"
    host: str = ""
    ssh: Literal["auto", "openssh", "builtin"] = "auto"
    forward_agent: bool = False
    tunnel: str = "auto"
    partition: str = ""
    account: str = ""
    qos: str = ""
    memory_request: str = "mem"
    route: str = "tunnel"
    handoff_host: str = ""
    ports: tuple[int, int] = DEFAULT_PORTS
    image_root: str = DEFAULT_IMAGE_ROOT
    image_store: str = ""
    audit_log: str = DEFAULT_AUDIT_LOG
    build: Build = Build()
    deploy: Deploy = Deploy()
    job_scripts: str = "/etc/vizdash/jobs"
    state_dir: str = ""
    ready_timeout_s: int = 180
    refresh_s: int = 10
    binds: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ui:
    """The dashboard. ``theme`` is ``dark``, ``light`` or ``contrast``. When a session gets ready
    the terminal may ring (``bell``), show a desktop notification (``notify``) and carry it in its
    title (``title``). ``preview`` is whether ready desktops of one's own are shown small. ``keys``
    are a person's own keys by action, in Textual's notation; none for an action takes its keys
    away. ``keys_from`` is the file and line that each stands in.
    """

    theme: str = "dark"
    bell: bool = True
    notify: bool = True
    title: bool = True
    preview: bool = True
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keys_from: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    cluster: Cluster
    clusters: Mapping[str, Cluster]
    apps: Mapping[str, App]
    read_only: bool = False
    ui: Ui = Ui()

    @property
    def called(self) -> str:
        """What the person calls the cluster; empty when nobody gave it a name."""
        return "" if self.cluster.name == HERE else self.cluster.name
