"""Every configuration key, declared once: its type, reader, default and help.

The readers are in readers.py, the declarations are explained in keys.py. ``vizdash config
--explain``, config.example.yaml and the check of ``locked`` follow this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vizdash.config import readers
from vizdash.config.desktop_size import geometry_key, scale_key
from vizdash.config.key_declaration import (
    Key,
    declare,
    key,
    keys_below,
    keys_of,
    read_section,
    read_values,
)
from vizdash.config.lifetime import Idle, Lease
from vizdash.config.readers import Item
from vizdash.model import SERVICE_KINDS, Resources

#: The cluster's name when a configuration names none.
HERE = "here"
#: Ports of the direct route.
DEFAULT_PORTS = (6080, 6099)
DEFAULT_IMAGE_ROOT = "/opt/apptainers/apps"
DEFAULT_AUDIT_LOG = "/var/log/vizdash/images.jsonl"


def _write_seconds(seconds: int) -> str:
    return f"{seconds}s"


declare(
    Resources,
    cores=Key(readers.positive, "Cores."),
    memory_mib=Key(readers.memory, "Memory.", name="memory", write=lambda mib: f"{mib}M"),
    gpus=Key(readers.integer, "GPUs."),
    time_s=Key(readers.duration, "Time limit.", name="time", write=_write_seconds),
)


def _read_presets(item: Item) -> dict[str, dict[str, Any]]:
    """Values of presets by attribute; what a preset leaves out comes from the app's resources."""
    entries = readers.named_entries(item, "a preset").items()
    return {name: read_values(entry, Resources) for name, entry in entries}


@dataclass(frozen=True, slots=True)
class App:
    """An app: what a user picks to start."""

    name: str
    title: str = key("", readers.text, "Title in lists.", example="ParaView")
    kind: str = key(
        "vizdash",
        readers.choice("vizdash", *SERVICE_KINDS, "legacy"),
        "vizdash (a desktop), web (a web service), pvserver (ParaView's server), or legacy: a job "
        "script that knows only SESSION_ID and VNC_PORT, and writes an info file in /tmp on the "
        "node.",
    )
    listen: str = key(
        "socket",
        readers.choice("socket", "port"),
        "Where a web service listens: on the Unix socket $VIZDASH_SOCKET, or on port $VIZDASH_PORT "
        "of 127.0.0.1, in a network namespace of its own.",
    )
    path: str = key(
        "/",
        readers.url_path,
        "The page of a web service to open, e.g. /lab; {id} is the session's id.",
        example='"/{id}/lab?reset"',
    )
    runtime: str = key(
        "auto",
        readers.choice("auto", "apptainer", "host"),
        "apptainer, host, or auto: apptainer under Slurm; on the local machine, apptainer if it "
        "and the image are installed, else host.",
    )
    image: str = key(
        "",
        readers.text,
        "Path of the image on the node; empty: IMAGE_ROOT/<app>/<app>.sif.",
    )
    command: str = key(
        "", readers.text, "Bash command line inside the image; empty: the image's runscript."
    )
    host_command: str = key(
        "", readers.text, "The same for runtime host.", example="openbox & exec paraview"
    )
    ends_with: str = key(
        "process",
        readers.choice("process", "windows"),
        "A session ends with the first process of its command (process), or when no window is "
        "left (windows), for a launcher that starts the program and returns.",
    )
    script: str = key(
        "vnc.sh", readers.text, "Job script, from job_scripts or shipped with vizdash."
    )
    vnc_password: str = key(
        "",
        readers.text,
        "The fixed password of a legacy image (`vizdash config` never shows it).",
        secret=True,
    )
    resources: Resources = key(
        Resources(),
        help="Resources requested by default.",
        example="{cores: 4, memory: 8G, gpus: 0, time: 4h}",
    )
    presets: Mapping[str, Resources] = key(
        read=_read_presets,
        help="Named sizes; what one leaves out is as in `resources`.",
        factory=dict,
        example="large: {cores: 8, memory: 16G, gpus: 1, time: 8h}",
        below=Resources,
        named=True,
    )
    geometry: str = geometry_key()
    scale: int = scale_key()
    binds: tuple[str, ...] = key(
        (), readers.texts, "Bind mounts, added to the cluster's.", example="[/data]"
    )
    environment: Mapping[str, str] = key(
        read=readers.environment,
        help="Environment variables, added to the cluster's.",
        factory=dict,
        example="{PV_PLUGIN_PATH: /data/plugins}",
        named=True,
    )
    modules: tuple[str, ...] = key((), readers.texts, "Modules, loaded after the cluster's.")
    lease: Lease = key(Lease(), help="The lease of this app's sessions, if not the cluster's.")
    idle: Idle = key(Idle(), help="This app's idle sessions, if not as in the cluster.")


@dataclass(frozen=True, slots=True)
class Build:
    """How images are built."""

    where: str = key(
        "here", readers.text, "here, job (a job of the cluster), or the name of an SSH host."
    )
    definitions: str = key(
        "/etc/vizdash/defs",
        readers.text,
        "The site's own definition files; they come before those shipped with vizdash.",
    )
    arguments: Mapping[str, str] = key(
        read=readers.text_map,
        help="Values for {{ name }} in them; a site without a registry builds from a local image.",
        factory=dict,
        example="{bootstrap: localimage, base: /srv/images/debian-13.sif}",
        named=True,
    )
    options: tuple[str, ...] = key((), readers.texts, "More arguments for `apptainer build`.")
    tmpdir: str = key(
        "", readers.text, "Temporary folder on the building machine; empty: TMPDIR, or /tmp."
    )
    resources: Resources = key(
        Resources(cores=4, memory_mib=4096, time_s=7200),
        help="What a job that builds requests.",
        example="{cores: 4, memory: 4G, gpus: 0, time: 2h}",
    )


@dataclass(frozen=True, slots=True)
class Deploy:
    """How images are copied to the nodes, and who may do so."""

    method: str = key(
        "auto",
        readers.choice("auto", "rsync", "chain", "shared"),
        "auto (for four or more nodes, a first copy goes from node to node and an update is one "
        "delta; else rsync), rsync (from the image host to each node), or shared (one copy on a "
        "file system that every node mounts). For auto, nodes reach each other by SSH as the "
        "deploying account; where they cannot, rsync is used. chain is auto from two nodes on.",
    )
    user: str = key("", readers.text, "User name for SSH to the nodes; empty: your own.")
    sudo: str = key(
        "auto",
        readers.choice("auto", "always", "never"),
        "auto (where your own permissions do not suffice), always or never.",
    )
    owner: str = key("root:root", readers.owner, "Owner and group of image files on the nodes.")
    mode: str = key("0644", readers.mode, "Mode of image files on the nodes.", example='"0644"')
    at_once: int = key(8, readers.positive, "Nodes served at the same time.")
    signed: bool = key(
        default=False,
        read=readers.flag,
        help="Deploy only images signed with a key in the deploying account's keyring "
        "(apptainer key import).",
    )
    inventory: str = key(
        "",
        readers.text,
        "World-readable list of what each node has; empty: in the image root of the image host.",
    )
    mounted_on: str = key(
        "",
        readers.text,
        "For method shared, other hosts that mount the image root, e.g. login[1-2]; a prune also "
        "checks them for images in use.",
    )
    admins: tuple[str, ...] = key(
        ("@sudo", "@wheel", "@admin"),
        readers.texts,
        "Users and @groups that may deploy, besides root and those who can write there.",
        example='["@sudo", "@wheel", "@admin"]',
    )


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster."""

    name: str
    engine: str = key(
        "auto",
        readers.choice("auto", "slurm", "local"),
        "slurm, local (this machine alone), or auto: slurm if its sinfo answers.",
    )
    host: str = key(
        "",
        readers.host,
        "Login host of a remote cluster, [user@]host[:port], reached by SSH with the settings of "
        "`ssh -G`; empty: this machine belongs to the cluster.",
        example="me@login.example.org",
    )
    ssh: Literal["auto", "openssh", "builtin"] = key(
        "auto",
        readers.choice("auto", "openssh", "builtin"),
        "SSH implementation: builtin (vizdash's own: one dialog for several questions, less CPU), "
        "openssh (ssh on this machine, as the master of all connections), or auto: builtin, unless "
        "an existing connection can be shared (ControlMaster), or a Kerberos ticket, a PKCS#11 "
        "token or a FIDO key without an agent is needed. `vizdash doctor` shows which one is used, "
        "and why.",
    )
    forward_agent: bool = key(
        default=False,
        read=readers.flag,
        help="Forward your SSH agent to vizdash's commands on that host, whose root can then use "
        "your keys. ForwardAgent in ~/.ssh/config does not count here, and X11 is never forwarded.",
    )
    tunnel: str = key(
        "auto",
        readers.choice("auto", "ssh", "srun", "hop"),
        "From the login host to a session's node: ssh (your keys on the login host), srun (a step "
        "of the session's job, where nodes accept no SSH), hop (your own machine's keys, through "
        "the login host), or auto: whichever works, remembered.",
    )
    partition: str = key(
        "",
        readers.text,
        "Partition for sessions, whose nodes are shown (several: viz,gpu), as in `scontrol show "
        "partition`; empty: Slurm's default partition.",
        example="viz",
    )
    account: str = key("", readers.text, "Account to charge; empty: Slurm's default.")
    qos: str = key("", readers.text, "Quality of service; empty: Slurm's default.")
    memory_request: str = key(
        "mem",
        readers.choice("mem", "mem-per-cpu", "none"),
        "How jobs request memory: mem (--mem), mem-per-cpu (--mem-per-cpu, rounded up), or none "
        "(the site's default). Where Slurm does not track memory, jobs request none in any case.",
    )
    route: str = key(
        "tunnel",
        readers.choice("tunnel", "direct"),
        "How a browser reaches a session: tunnel (your SSH to the node; nothing listens on the "
        "network), or direct (a TCP port of the node, one of `ports`).",
    )
    handoff_host: str = key(
        "",
        readers.text,
        "Name of this login host for users' own computers, in the ssh command shown to them where "
        "there is no browser; {host} is its short name. Empty: its full name.",
        example='"{host}.hpc.example.org"',
    )
    ports: tuple[int, int] = key(
        DEFAULT_PORTS,
        readers.ports,
        "TCP ports for route direct.",
        write=lambda ports: f"{ports[0]}-{ports[1]}",
    )
    image_root: str = key(
        DEFAULT_IMAGE_ROOT,
        readers.folder,
        "Images on each node are IMAGE_ROOT/<app>/<app>-<version>.sif; IMAGE_ROOT/<app>/<app>.sif "
        "is a link to the current one.",
    )
    image_store: str = key(
        "",
        readers.text,
        "Folder for built images until they are deployed; empty: a folder in your own data.",
    )
    audit_log: str = key(
        DEFAULT_AUDIT_LOG,
        readers.text,
        "Log of changes to images: one JSON object per line, append-only.",
    )
    build: Build = key(Build(), help="How images are built.")
    deploy: Deploy = key(Deploy(), help="How images are copied to the nodes.")
    job_scripts: str = key(
        "/etc/vizdash/jobs",
        readers.text,
        "The site's own job scripts; one with the name of a shipped script replaces it.",
    )
    state_dir: str = key(
        "",
        readers.state_dir,
        "Folder for session folders (log, status, connection file), if the home is too small or "
        "not shared between login hosts and nodes; %u is the user name. Empty: "
        "~/.local/state/vizdash.",
        example="/scratch/%u/vizdash",
    )
    ready_timeout_s: int = key(
        180,
        readers.span,
        "A desktop that does not answer within this time has failed.",
        example="3m",
        name="ready_timeout",
        write=_write_seconds,
    )
    refresh_s: int = key(
        10,
        readers.span,
        "Interval between the dashboard's queries; longer when the controller is slow.",
        name="refresh",
        write=_write_seconds,
    )
    binds: tuple[str, ...] = key(
        (),
        readers.texts,
        "Bind mounts for every session (apptainer's --bind).",
        example='[/scratch, "/licences:/licences:ro"]',
    )
    environment: Mapping[str, str] = key(
        read=readers.environment,
        help="Environment variables for every session.",
        factory=dict,
        example="{LM_LICENSE_FILE: 27000@licences}",
        named=True,
    )
    modules: tuple[str, ...] = key(
        (), readers.texts, "Modules that are loaded on the node for every session."
    )
    lease: Lease = key(Lease(), help="How long sessions run, and how long they can be extended.")
    idle: Idle = key(Idle(), help="What happens to idle sessions.")


@dataclass(frozen=True, slots=True)
class UiSettings:
    """The dashboard. ``keys_from`` is the file and line of each action in ``keys``."""

    theme: str = key(
        "dark",
        readers.choice("dark", "light", "contrast"),
        "dark, light, or contrast (high contrast); T in the dashboard switches them.",
    )
    bell: bool = key(
        default=True, read=readers.flag, help="When a session becomes ready, ring the bell."
    )
    notify: bool = key(
        default=True,
        read=readers.flag,
        help="When a session becomes ready, show a desktop notification (OSC 9 and 777, where the "
        "terminal supports them).",
    )
    title: bool = key(
        default=True, read=readers.flag, help="Show ready sessions in the terminal's title."
    )
    preview: bool = key(
        default=True,
        read=readers.flag,
        help="Show a small live preview of the selected session's desktop (v: large). It uses the "
        "route of the session, at most 32 KiB a second on average, and only while it is visible.",
    )
    keys: Mapping[str, tuple[str, ...]] = key(
        read=readers.one_or_more,
        help="Your own keys: an action id (`vizdash config --explain` lists them) with a key or a "
        "list of keys, in Textual's names (x, X, f5, ctrl+r, slash). An empty list removes the "
        "action's keys.",
        factory=dict,
        example="refresh: [R, f5]",
        named=True,
    )
    keys_from: Mapping[str, str] = field(default_factory=dict)


def _read_app(name: str, item: Item) -> App:
    values = read_values(item, App)
    resources = values.get("resources", Resources())
    presets = values.pop("presets", {}).items()
    values["presets"] = {preset: replace(resources, **wanted) for preset, wanted in presets}
    return App(name=name, **{"title": name, **values})


def _read_apps(item: Item) -> dict[str, App]:
    """Read the apps; ``app: false`` removes a built-in one."""
    return {
        name: _read_app(name, entry)
        for name, entry in readers.named_entries(item, "an app").items()
        if entry.value is not False
    }


def _read_clusters(item: Item) -> dict[str, Cluster]:
    entries = readers.named_entries(item, "a cluster").items()
    return {name: Cluster(name=name, **read_values(entry, Cluster)) for name, entry in entries}


def _read_ui(item: Item) -> UiSettings:
    ui: UiSettings = read_section(item, UiSettings())
    keys = readers.entries(item).get("keys")
    origins = {name: entry.origin for name, entry in readers.entries(keys).items()} if keys else {}
    return replace(ui, keys_from=origins)


def _read_locked(item: Item) -> tuple[str, ...]:
    """Read paths of keys. An unknown one is refused, since it would lock nothing."""
    paths = readers.texts(item)
    for path, entry in zip(paths, item.value, strict=True):
        below = keys_of(ConfigFile)
        for word in path.split("."):
            declared = below.get(word) or below.get("*")
            if declared is None:
                raise entry.error(f"no such key: {path}", readers.nearest(word, tuple(below)))
            below = keys_below(declared)
    return paths


@dataclass(eq=False, repr=False)  # neither is used, and each costs time at start-up
class ConfigFile:
    """The top level of a configuration file."""

    read_only: bool = key(
        default=False,
        read=readers.flag,
        help="Refuse every change of the cluster: starting and stopping, deploying, draining.",
    )
    default_cluster: str = key(
        "",
        readers.text,
        "The cluster to use when none is named; empty: the first one.",
        example="viz",
    )
    locked: tuple[str, ...] = key(
        (),
        _read_locked,
        "Keys that users' own files cannot set, by path (only in the site's file).",
        example="[clusters.viz.route, apps.paraview.binds]",
    )
    ui: UiSettings = key(
        UiSettings(),
        _read_ui,
        "The dashboard. It applies changes of this file while it runs, except to the engine, host, "
        "ssh and tunnel of clusters already in use: restart vizdash for those.",
        below=UiSettings,
    )
    clusters: Mapping[str, Cluster] = key(
        read=_read_clusters,
        help='Clusters, by a name of your choice. Without any, there is one named "here", with the '
        "defaults.",
        factory=dict,
        below=Cluster,
        named=True,
    )
    apps: Mapping[str, App] = key(
        read=_read_apps,
        help="The apps. desktop, gedit and paraview are built in: change single keys, remove one "
        "with `gedit: false`, or add your own.",
        factory=dict,
        below=App,
        named=True,
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, with the chosen cluster."""

    cluster: Cluster
    clusters: Mapping[str, Cluster]
    apps: Mapping[str, App]
    read_only: bool = False
    ui: UiSettings = UiSettings()

    @property
    def cluster_name(self) -> str:
        """The name that the user gave the cluster; empty for none."""
        return "" if self.cluster.name == HERE else self.cluster.name
