"""A session's folder: log, status and connection file, readable by its owner only."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vizdash.errors import NotFound, Refused
from vizdash.model import SERVICE_KINDS
from vizdash.sessions.comment import is_id
from vizdash.util.files import (
    account_name,
    check_private_below,
    make_private,
    read_if_there,
    write_whole,
)

_LIMIT = 64 * 1024
#: The end of the session's lease: written by the job, and by vizdash to extend it.
LEASE_FILE = "lease"
#: Written at submission (``job``) and by the job itself (``status``), whose values take precedence.
STATUS_FILES = ("job", "status", LEASE_FILE)


def sessions_root(state_dir: str = "") -> Path:
    """The folder of all session folders: ``~/.local/state/vizdash/sessions``, or below a site's
    ``state_dir`` (``%u`` is the user's name). It must be the same on nodes, which do not see the
    client's environment.
    """
    if state_dir:
        return Path(state_dir.replace("%u", account_name())) / "sessions"
    return Path.home() / ".local" / "state" / "vizdash" / "sessions"


def make_root(root: Path, state_dir: str = "") -> None:
    """Make ``root`` (``sessions_root``), 0700. Below a ``state_dir`` every folder from the one with
    the user's name on must belong to the user, or be root's (see ``check_private_below``): where
    all may write, anyone can have made it.

    Raises OSError.
    """
    own = [root.parent, root]
    if state_dir:
        depth = next(at for at, part in enumerate(Path(state_dir).parts, 1) if "%u" in part)
        own = [Path(*root.parts[:at]) for at in range(depth, len(root.parts) + 1)]
        check_private_below(own)
    make_private(root)
    if state_dir:
        check_private_below(own)
    for path in (root,) if state_dir else own:
        if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
            path.chmod(0o700)


def folder_of(session_id: str, root: Path | None = None) -> Path:
    """The folder of a session, below ``root`` (else ``sessions_root()``). Raises ValueError for
    an invalid session id.
    """
    if not is_id(session_id):
        raise ValueError(f"{session_id!r} is not a session id")
    return (root or sessions_root()) / session_id


def make_folder(session_id: str, record: str = "", state_dir: str = "") -> Path:
    """Make the folder, 0700, with a record in it (see ``job_record``). Raises Refused where it or
    the file can't be made.
    """
    root = sessions_root(state_dir)
    folder = folder_of(session_id, root)
    fix = "see state_dir in the config" if state_dir else "check your home"
    try:
        make_root(root, state_dir)
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)
    except OSError as e:
        raise Refused(f"can't make {folder}", _error_text(e), fix) from e
    try:
        write_record(session_id, record, root)
    except Refused:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    return folder


def write_record(
    session_id: str, record: str, root: Path | None = None, name: str = STATUS_FILES[0]
) -> None:
    """Replace the record of the submission, or file ``name``. Raises Refused where it can't be
    written.
    """
    path = folder_of(session_id, root) / name
    try:
        write_whole(path, record)
    except OSError as e:
        fix = "check your home" if path.is_relative_to(Path.home()) else "see state_dir"
        raise Refused(f"can't write {path}", _error_text(e), fix) from e


def _error_text(error: OSError) -> str:
    """The cause of an error, with its file where that is another one."""
    where = f": {error.filename}" if error.errno == errno.EPERM and error.filename else ""
    return f"{error.strerror or error}{where}"


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a session. The passwords are kept out of ``repr``.

    ``kind`` is that of a service (empty: a desktop), whose ``password`` is the token of its gate;
    ``server_version`` is what a pvserver reports. ``scale`` is as in Session.
    """

    job_id: str
    node: str
    node_ip: str
    port: int
    web_socket: str
    password: str = field(repr=False)
    view_password: str = field(default="", repr=False)
    vnc_socket: str = ""
    runtime_dir: str = ""
    display: str = ""
    image_digest: str = ""
    started_at: int = 0
    kind: str = ""
    server_version: str = ""
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Status:
    """The last status that the job wrote (see the session protocol in assets/jobs/vnc.sh).

    ``updated_at``, ``ready_at`` (when the desktop first answered) and ``begun_at`` (when the run of
    the job that wrote it began, by the scheduler's clock) are seconds since the epoch; 0 where the
    job did not write them. ``job_id``, ``app``, ``image_version``, ``service``, ``legacy``,
    ``scale``, ``submitted_at`` (seconds since the epoch, by the clock of vizdash), ``cluster`` and
    ``job_name`` (empty: the app's) are known from the submission on; ``warning``, ``renderer``,
    ``service`` and ``scale`` are as in Session;
    ``viewers`` and ``since`` are as in the comment. ``lease_end_at`` is when its lease ends
    (None: it has none), ``idle_end_at`` when it will end for being idle (None: it is not).
    ``problem`` is why the folder can't be read, in words (empty: it can be).
    """

    state: str = ""
    step: str = ""
    error: str = ""
    result: str = ""
    updated_at: int = 0
    ready_at: int = 0
    begun_at: int = 0
    job_id: str = ""
    app: str = ""
    image_version: str = ""
    image_digest: str = ""
    service: str = ""
    legacy: bool = False
    warning: str = ""
    renderer: str = ""
    viewers: int | None = None
    since: int | None = None
    lease_end_at: int | None = None
    idle_end_at: int | None = None
    scale: int = 1
    submitted_at: int = 0
    cluster: str = ""
    job_name: str = ""
    problem: str = ""


def read_connection(session_id: str, root: Path | None = None) -> Connection:
    """The content of the connection file. Raises NotFound where it does not exist, or can't be
    read.
    """
    folder = folder_of(session_id, root)
    try:
        return connection_of(session_id, read_pairs(folder / "connection"))
    except OSError as e:
        raise NotFound(f"session {session_id}", problem_text(folder, e.strerror or str(e))) from e


def connection_of(session_id: str, values: Mapping[str, str] | None) -> Connection:
    """The connection in a file's values. Raises NotFound without any, or of another session."""
    if values is None or values.get("SESSION_ID") != session_id:
        raise NotFound(f"session {session_id}", "it has no connection file", "is it ready?")
    port = values.get("VNC_PORT", "")
    return Connection(
        job_id=values.get("JOB_ID", ""),
        node=values.get("NODE", ""),
        node_ip=values.get("NODE_IP", ""),
        port=_number(port) if values.get("WEB_SOCKET", "") == "" else 0,
        web_socket=values.get("WEB_SOCKET", ""),
        vnc_socket=values.get("VNC_SOCKET", ""),
        password=values.get("PASSWORD", ""),
        view_password=values.get("VIEW_PASSWORD", ""),
        runtime_dir=values.get("RUNTIME_DIR", ""),
        display=values.get("DISPLAY", ""),
        image_digest=values.get("IMAGE_DIGEST", ""),
        started_at=_number(values.get("START_TIME", "")),
        kind=values.get("KIND", ""),
        server_version=values.get("SERVER_VERSION", ""),
        scale=_number(values.get("SCALE", "")) or 1,
    )


def read_status(session_id: str, root: Path | None = None) -> Status:
    """The status from STATUS_FILES; an empty Status where none exists in the folder. The folder
    itself always does, from before the submission on.
    """
    folder = folder_of(session_id, root)
    values: dict[str, str] = {}
    error: OSError | None = None
    for name in STATUS_FILES:
        try:
            values |= read_pairs(folder / name) or {}
        except OSError as e:
            error = e
    if not values and error is None:
        try:
            folder.stat()
        except OSError as e:
            error = e
    problem = problem_text(folder, error.strerror or str(error)) if error else ""
    return with_problem(status_of(values), problem)


def with_problem(status: Status, problem: str) -> Status:
    """``status`` with what is wrong with its folder, unless the job's state could be read."""
    return status if status.state else replace(status, problem=problem)


def problem_text(folder: str | Path, cause: str, where: str = "here") -> str:
    """Why a session's folder can't be read; ``cause`` is strerror(3)'s."""
    if cause == os.strerror(errno.ENOENT):
        return f"its session folder {folder} is not there"
    return f"its session folder can't be read {where}: {cause}"


def status_of(values: Mapping[str, str] | None) -> Status:
    """The status from the values of its files."""
    values = values or {}
    viewers, since = values.get("VIEWERS", ""), values.get("SINCE", "")
    return Status(
        state=values.get("STATE", ""),
        step=values.get("STEP", ""),
        error=values.get("ERROR", ""),
        result=values.get("RESULT", "").replace("-", " "),
        updated_at=_number(values.get("UPDATED", "")),
        ready_at=_number(values.get("READY", "")),
        begun_at=_number(values.get("STARTED", "")),
        job_id=values.get("JOB_ID", ""),
        app=values.get("APP", ""),
        image_version=values.get("IMAGE_VERSION", ""),
        image_digest=values.get("IMAGE_DIGEST", ""),
        service=values.get("KIND", "") if values.get("KIND", "") in SERVICE_KINDS else "",
        legacy=values.get("KIND", "") == "legacy",
        warning=values.get("WARNING", ""),
        renderer=values.get("RENDERER", ""),
        viewers=_number(viewers) if viewers else None,
        since=_number(since) if since else None,
        lease_end_at=_number(values.get("LEASE_END", "")) or None,
        idle_end_at=_number(values.get("IDLE_END", "")) or None,
        scale=_number(values.get("SCALE", "")) or 1,
        submitted_at=_number(values.get("SUBMITTED", "")),
        cluster=values.get("CLUSTER", ""),
        job_name=values.get("JOB_NAME", ""),
    )


def lease_record(end_at: int) -> str:
    """The content of LEASE_FILE, as assets/jobs/lease.sh reads it."""
    return f"LEASE_END={end_at}\n"


def job_record(
    app: str,
    version: str,
    kind: str,
    job_id: str = "",
    *,
    scale: int = 1,
    submitted_at: int = 0,
    cluster: str = "",
    job_name: str = "",
) -> str:
    """The record of the submission: the session's app and image, its job's id, its scale, and when,
    to which cluster and under which name it was submitted (``submitted_at``, ``cluster`` and
    ``job_name`` are as in Status).
    """
    more = {
        "SCALE": scale if scale != 1 else "",
        "SUBMITTED": submitted_at or "",
        "CLUSTER": cluster,
        "JOB_NAME": job_name.replace("\n", " "),
    }
    lines = "".join(f"{key}={value}\n" for key, value in more.items() if value)
    return f"APP={app}\nIMAGE_VERSION={version}\nKIND={kind}\nJOB_ID={job_id}\n{lines}"


def job_ids(root: Path) -> dict[str, str]:
    """The ids of the jobs of the user's own sessions below ``root``, by session id."""
    ids = {}
    places: list[Path] = []
    with contextlib.suppress(OSError):  # none yet, or the home can't be read: see Status.problem
        places = list(root.iterdir())
    for place in places:
        if is_id(place.name) and (job_id := read_status(place.name, root).job_id):
            ids[place.name] = job_id
    return ids


def read_pairs(path: Path) -> dict[str, str] | None:
    """``KEY=VALUE`` lines of a file; None where it does not exist or is not this user's. Raises
    OSError where it can't be read.
    """
    return pairs_of(read_if_there(path))


def pairs_of(text: str | None) -> dict[str, str] | None:
    """``KEY=VALUE`` lines of a text; None for none."""
    if text is None:
        return None
    pairs = (line.partition("=") for line in text.split("\n") if "=" in line)
    return {key.strip(): value for key, _, value in pairs}


def tail(path: Path, lines: int) -> str:
    """The last ``lines`` lines of a log, reading at most 64 KiB a hundred lines."""
    limit = max(_LIMIT, lines * 640)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0
