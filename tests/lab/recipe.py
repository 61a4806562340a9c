"""The parts of the lab, and the keys under which they are cached."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
FILES = HERE / "files"
CACHE = Path(os.environ.get("VIZDASH_LAB_CACHE", "/var/cache/vizdash-lab"))

SUITE = "trixie"
#: Only this suite has Apptainer; pinned low, so that nothing else comes from it.
EXTRA_SUITE = "sid"
ROOT_PACKAGES = [
    "ca-certificates",
    "iproute2",
    "procps",
    "openssh-server",
    "openssh-client",
    "rsync",
    "munge",
    "slurm-client",
    "slurmctld",
    "slurmd",
    "sudo",
    "python3-venv",
    "curl",
    "less",
    # Accounting, one-time codes, login shells that are not POSIX, and a peer to measure against.
    "slurmdbd",
    "mariadb-server",
    "libpam-google-authenticator",
    "fish",
    "tcsh",
    "clustershell",
    # Logins that ssh(1) alone can do: a KDC and its tools, and a PKCS#11 token in software.
    "krb5-kdc",
    "krb5-admin-server",
    "krb5-user",
    "softhsm2",
]
#: On the nodes' own system, for `runtime: host`; images bring their own.
DESKTOP_PACKAGES = [
    "tigervnc-standalone-server",
    "tigervnc-tools",
    "websockify",
    "novnc",
    "dbus-daemon",
    "xauth",
    "x11-utils",
    "x11-xserver-utils",
    "xfonts-base",
    "fonts-dejavu-core",
    "openbox",
    "xterm",
]
EXTRA_PACKAGES = ["apptainer", "squashfs-tools", "squashfuse", "fuse2fs", "fuse3"]
#: What every image shares, so that each app's own build adds little.
BASE_PACKAGES = ("procps", *DESKTOP_PACKAGES)

#: As small as gzip here, and both quick to make and, for every session, half the work to read.
SQUASHFS = "-comp zstd -Xcompression-level 1"

APPS = ("desktop", "gedit")
VERSION = "1.0"
USERS = ("alice", "bob", "vizadmin")

LOGIN = "login"
NODES = ("viz-node001", "viz-node002", "viz-node003")
#: Slurm's own files, laid over the root file system of every host.
SLURM_FILES = ("slurm.conf", "job_submit.lua")
#: The switch's bridge that the cluster's own hosts are on.
INSIDE = "br0"
ADDRESSES = {name: f"10.77.0.{10 + i}" for i, name in enumerate((LOGIN, *NODES))}


def dependencies() -> list[str]:
    """vizdash's own run-time requirements."""
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        found: list[str] = tomllib.load(file)["project"]["dependencies"]
    return found


def key(*parts: object) -> str:
    """A short digest of a recipe."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def root_key() -> str:
    """A key that changes when the root file system would differ."""
    scripts = [(HERE / "root.py").read_text(), (FILES / "configure-root.sh").read_text()]
    packages = (ROOT_PACKAGES, DESKTOP_PACKAGES, EXTRA_PACKAGES)
    return key(SUITE, EXTRA_SUITE, packages, dependencies(), USERS, *scripts)


def base_key() -> str:
    """A key that changes when the base image would differ."""
    return key(SUITE, BASE_PACKAGES, SQUASHFS)


def image_key(app: str) -> str:
    """A key that changes when an app's image would differ."""
    return key(base_key(), definition(app).read_text(), VERSION)


def definition(app: str) -> Path:
    """An app's definition file: the project's, or the lab's own."""
    own = FILES / f"{app}.def"
    return own if own.exists() else CHECKOUT / "assets" / "defs" / f"{app}.def"
