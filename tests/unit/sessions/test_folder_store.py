"""Session folders, on this machine's disk and by a remote shell: one contract."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vizdash.errors import NotFound, Refused
from vizdash.model import Session, SessionState
from vizdash.sessions.folder import Status, folder_of, job_record
from vizdash.sessions.folder_store import LocalSessionStore, RemoteSessionStore, SessionStore
from vizdash.sessions.folder_summary import FolderSummary, read_folder_summary
from vizdash.transport.local import LocalRunner
from vizdash.util.files import account_name

ID, OTHER = "3f9a01bc", "00000000"
RECORD = job_record("desktop", "1.0", "vizdash")
CONNECTION = f"""\
JOB_ID=7
NODE=viz-node001
VNC_PORT=
SESSION_ID={ID}
STATUS=running
START_TIME=1800000000
NODE_IP=10.0.0.1
WEB_SOCKET=/tmp/v/web
PASSWORD=a=b c$d
VIEW_PASSWORD=view
IMAGE_DIGEST=sha256:00
"""


@pytest.fixture(params=["here", "by a shell"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SessionStore:
    monkeypatch.setenv("HOME", str(tmp_path))
    return LocalSessionStore() if request.param == "here" else RemoteSessionStore(LocalRunner())


def put(name: str, text: str, session_id: str = ID) -> Path:
    folder = folder_of(session_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


async def test_a_folder_is_made_for_its_owner_alone_and_taken_back(store: SessionStore) -> None:
    old = os.umask(0)
    try:
        path = Path(await store.make(ID, RECORD))
    finally:
        os.umask(old)
    assert path == folder_of(ID)
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert (path / "job").stat().st_mode & 0o777 == 0o600
    (path / "job.log").write_text("x")
    await store.remove(ID)
    assert not path.exists()


async def test_a_folder_that_cannot_be_made_is_refused(store: SessionStore, tmp_path: Path) -> None:
    await store.make(ID, RECORD)
    with pytest.raises(Refused):
        await store.make(ID, RECORD)
    (tmp_path / ".local").rename(tmp_path / "away")
    (tmp_path / ".local").write_text("a file where a folder should be")
    with pytest.raises(Refused, match="check your home"):
        await store.make(OTHER, RECORD)


async def test_a_session_is_known_by_its_job_from_the_submission_on(store: SessionStore) -> None:
    await store.make(ID, RECORD)
    assert await store.job_ids() == {}
    await store.write_record(ID, job_record("desktop", "1.0", "legacy", "7"))
    put("status", "STATE=starting\nJOB_ID=8\n", OTHER)
    assert await store.job_ids() == {ID: "7", OTHER: "8"}
    assert (await store.statuses([ID]))[ID] == Status(
        job_id="7", app="desktop", image_version="1.0", legacy=True
    )
    put("status", "STATE=ready\nSTEP=ready\nJOB_ID=7\nVIEWERS=2\nSINCE=5\nSTARTED=4\n")
    found = (await store.statuses([ID]))[ID]
    assert (found.state, found.app, found.begun_at) == ("ready", "desktop", 4)
    assert (found.viewers, found.since) == (2, 5)


async def test_a_final_status_is_read_once_unless_its_job_runs_again(store: SessionStore) -> None:
    put("status", "STATE=ended\nSTEP=app\nRESULT=failed\n")
    assert (await store.statuses([ID]))[ID].state == "ended"
    put("status", "STATE=starting\nSTEP=image\n")
    assert (await store.statuses([ID]))[ID].state == "ended"
    assert (await store.statuses([ID], running=[ID]))[ID].state == "starting"
    assert (await store.statuses([ID]))[ID].state == "starting"


async def test_a_record_that_cannot_be_written_leaves_the_old_one(
    store: SessionStore,
) -> None:
    """Only root's writes are refused by nothing but a limit on the size of files."""
    await store.make(ID, RECORD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(Refused, match=r"File (too large|size limit)"):
            await store.write_record(ID, RECORD + "more")
        with pytest.raises(Refused, match=r"File (too large|size limit)"):
            await store.make(OTHER, RECORD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert [path.name for path in folder_of(ID).iterdir()] == ["job"]
    assert (folder_of(ID) / "job").read_text() == RECORD
    assert not folder_of(OTHER).exists()


async def test_the_connection(store: SessionStore) -> None:
    put("connection", CONNECTION)
    found = await store.connection(ID)
    assert (found.job_id, found.node, found.node_ip) == ("7", "viz-node001", "10.0.0.1")
    assert (found.web_socket, found.port) == ("/tmp/v/web", 0)
    assert (found.password, found.view_password) == ("a=b c$d", "view")
    assert found.started_at == 1800000000
    assert "a=b" not in repr(found)
    assert "view'" not in repr(found)


async def test_a_direct_one_has_a_port(store: SessionStore) -> None:
    put("connection", CONNECTION.replace("/tmp/v/web", "").replace("VNC_PORT=", "VNC_PORT=6085"))
    assert (await store.connection(ID)).port == 6085
    put("connection", CONNECTION.replace("/tmp/v/web", "").replace("VNC_PORT=", "VNC_PORT=²"))
    assert (await store.connection(ID)).port == 0


@pytest.mark.parametrize("text", ["", "nonsense", "\0\0", f"SESSION_ID={OTHER}\nNODE=x\n"])
async def test_what_is_no_connection_of_this_session(store: SessionStore, text: str) -> None:
    put("connection", text)
    with pytest.raises(NotFound, match="is it ready"):
        await store.connection(ID)
    with pytest.raises(NotFound):
        await store.connection(OTHER)


async def test_planted_files_do_not_count(store: SessionStore, tmp_path: Path) -> None:
    """A link, or another user's file."""
    elsewhere = tmp_path / "planted"
    elsewhere.write_text(CONNECTION)
    path = put("connection", "")
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(NotFound):
        await store.connection(ID)
    if os.geteuid() == 0:
        path.unlink()
        path.write_text(CONNECTION)
        os.chown(path, 12345, 12345)
        with pytest.raises(NotFound):
            await store.connection(ID)


async def test_statuses(store: SessionStore) -> None:
    put("status", "STATE=ended\nSTEP=app\nERROR=no GL = no picture\nRESULT=timed-out\nUPDATED=9\n")
    put("status", "STATE=starting\nSTEP=image\n", OTHER)
    found = await store.statuses([ID, OTHER, "11111111"])
    assert found[ID] == Status("ended", "app", "no GL = no picture", "timed out", 9)
    assert found[OTHER] == Status("starting", "image")
    assert found["11111111"].state == ""
    # Asked again, also by who keeps what has ended.
    assert (await store.statuses([ID]))[ID].result == "timed out"


async def test_the_end_of_a_log(store: SessionStore) -> None:
    put("job.log", "".join(f"line {n}\n" for n in range(50_000)) + "bad \xff byte")
    text = await store.tail(ID, 3)
    assert text.splitlines() == ["line 49998", "line 49999", "bad \xff byte"]
    many = (await store.tail(ID, 200)).splitlines()
    assert len(many) == 200
    with pytest.raises(NotFound):
        await store.tail(OTHER, 3)


async def test_the_trail_of_a_session(store: SessionStore) -> None:
    mine = Session(ID, "7", "desktop", "alice", SessionState.READY, node="viz-node001")
    put("status", "STATE=ready\nSTEP=ready\nUPDATED=1800000300\nREADY=1800000012\n")
    assert await read_folder_summary(mine, store, lines=2) == FolderSummary(
        1800000012, (), "it is not there"
    )
    put("job.log", "")
    assert (await read_folder_summary(mine, store, lines=2)).note == "empty so far"
    put("job.log", "one\ntwo\nthree\n")
    assert await read_folder_summary(mine, store, lines=2) == FolderSummary(
        1800000012, ("two", "three")
    )
    put("status", "STATE=starting\nSTEP=xvnc\n")
    assert (await read_folder_summary(mine, store, lines=2)).ready_at is None
    waits = replace(mine, state=SessionState.PENDING, node="")
    assert (await read_folder_summary(waits, store, lines=2)).note == "the job has not begun"
    with pytest.raises(Refused, match="only alice"):
        await read_folder_summary(replace(mine, mine=False), store, lines=2)


@pytest.mark.parametrize("bad", ["", "..", "../../etc", "3F9A01BC", "3f9a01bc\n", "$(id)", "-rf"])
def test_only_an_id_names_a_folder(bad: str) -> None:
    with pytest.raises(ValueError, match="not a session id"):
        folder_of(bad)


@pytest.fixture(params=["here", "by a shell"])
def elsewhere(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[SessionStore, Path]:
    """A store below a site's state_dir, and the folder that is to be the user's."""
    monkeypatch.setenv("HOME", str(tmp_path / "no-home"))
    monkeypatch.setenv("LOGNAME", "mallory")
    state_dir = f"{tmp_path}/%u/vizdash"
    here = request.param == "here"
    made = LocalSessionStore(state_dir) if here else RemoteSessionStore(LocalRunner(), state_dir)
    return made, tmp_path / account_name()


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
async def test_below_a_sites_state_dir(elsewhere: tuple[SessionStore, Path], umask: int) -> None:
    store, own = elsewhere
    old = os.umask(umask)
    try:
        path = Path(await store.make(ID, RECORD))
        await store.write_record(ID, job_record("desktop", "", "", "7"))
    finally:
        os.umask(old)
    assert path == own / "vizdash" / "sessions" / ID
    assert {p.stat().st_mode & 0o777 for p in (own, *own.rglob("*")) if p.is_dir()} == {0o700}
    assert (path / "job").stat().st_mode & 0o777 == 0o600
    assert await store.job_ids() == {ID: "7"}
    (path / "connection").write_text(CONNECTION)
    assert (await store.connection(ID)).node == "viz-node001"
    assert (await store.statuses([ID]))[ID].app == "desktop"
    (path / "connection").unlink()
    await store.remove(ID)
    assert not path.exists()


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
async def test_folders_are_private_under_any_umask(
    store: SessionStore, tmp_path: Path, umask: int
) -> None:
    old = os.umask(umask)
    try:
        await store.make(ID, RECORD)
        await store.make(OTHER, RECORD)
    finally:
        os.umask(old)
    made = [path for path in (tmp_path / ".local").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / ".local", *made)} == {0o700}


async def test_what_was_open_before_is_closed(store: SessionStore, tmp_path: Path) -> None:
    sessions = folder_of(ID).parent
    sessions.mkdir(parents=True)
    for path in (sessions, sessions.parent, sessions.parent.parent):
        path.chmod(0o755)
    await store.make(ID, RECORD)
    modes = [p.stat().st_mode & 0o777 for p in (sessions, sessions.parent, sessions.parent.parent)]
    assert modes == [0o700, 0o700, 0o755]  # the last one is not vizdash's


@pytest.mark.parametrize("level", ["own", "vizdash", "sessions"])
@pytest.mark.parametrize("kind", ["link", "file", "folder of another"])
async def test_a_folder_that_another_user_made_before_is_not_used(
    elsewhere: tuple[SessionStore, Path], tmp_path: Path, level: str, kind: str
) -> None:
    store, own = elsewhere
    place = {"own": own, "vizdash": own / "vizdash", "sessions": own / "vizdash/sessions"}[level]
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        (tmp_path / "trap").mkdir()
        place.parent.chmod(0o1777)
        place.symlink_to(tmp_path / "trap")
    elif kind == "file":
        place.write_text("")
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        place.mkdir()
        os.chown(place, 12345, 12345)
    with pytest.raises(Refused, match=rf"it is a link, or not yours|{place} is a link, or not"):
        await store.make(ID, RECORD)
    assert not (tmp_path / "trap").exists() or not list((tmp_path / "trap").iterdir())


async def test_the_end_of_a_lease_is_moved(store: SessionStore) -> None:
    await store.make(ID, RECORD)
    put("status", "STATE=ready\n")
    before = (await store.statuses([ID]))[ID]
    assert (before.state, before.lease_end_at) == ("ready", None)
    put("lease", "LEASE_END=1800000000\n")
    await store.write_lease(ID, 1800003600)
    after = (await store.statuses([ID]))[ID]
    assert (after.state, after.lease_end_at) == ("ready", 1800003600)
    # As assets/jobs/lease.sh reads it, and for the owner alone.
    path = folder_of(ID) / "lease"
    assert path.read_text() == "LEASE_END=1800003600\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert {p.name for p in path.parent.iterdir()} == {"job", "status", "lease"}


async def test_a_lease_that_cannot_be_moved_stays(store: SessionStore) -> None:
    with pytest.raises(Refused):
        await store.write_lease(OTHER, 1800003600)


async def problem_of(store: SessionStore, session_id: str = ID) -> str:
    statuses = await store.statuses([session_id], running=[session_id])
    return statuses.get(session_id, Status()).problem


async def test_a_folder_that_cannot_be_read_is_not_one_without_a_status(
    store: SessionStore, tmp_path: Path
) -> None:
    await store.make(ID, RECORD)
    assert await problem_of(store) == ""  # its job has not begun
    put("status", "STATE=ready\n")
    put("connection", CONNECTION)
    assert await problem_of(store) == ""
    # As without a ticket for it, an error for every path below.
    (tmp_path / ".local").rename(tmp_path / "away")
    (tmp_path / ".local").write_text("")
    assert re.fullmatch(
        r"its session folder can't be read (here|on the login host): Not a directory",
        await problem_of(store),
    )
    with pytest.raises(NotFound, match="can't be read"):
        await store.connection(ID)
    assert await store.job_ids() == {}
    (tmp_path / ".local").unlink()
    assert await problem_of(store) == f"its session folder {folder_of(ID)} is not there"
    (tmp_path / "away").rename(tmp_path / ".local")
    assert await problem_of(store) == ""


async def test_a_session_whose_folder_has_been_removed(store: SessionStore) -> None:
    await store.make(ID, RECORD)
    assert await problem_of(store, OTHER) == f"its session folder {folder_of(OTHER)} is not there"
    folder_of(OTHER).mkdir()
    assert await problem_of(store, OTHER) == ""


@contextlib.contextmanager
def as_nobody(*places: Path) -> Iterator[None]:
    """Own ``places``, without root's right to read every file."""
    if os.geteuid() != 0:
        yield
        return
    for place in places:
        os.chown(place, 65534, 65534)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("place", ["status", "folder", "root"])
async def test_what_this_user_may_not_read(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """As on AFS without a token (a file is there, and can't be opened), and in HOME=/root."""
    with tempfile.TemporaryDirectory() as home:
        monkeypatch.setenv("HOME", home)
        if isinstance(store, LocalSessionStore):
            store = LocalSessionStore()
        await store.make(ID, RECORD)
        folder = put("status", "STATE=ready\n").parent
        closed = {"status": folder / "status", "folder": folder, "root": folder.parent}[place]
        with as_nobody(Path(home), *Path(home).rglob("*")):
            assert (await store.statuses([ID]))[ID].state == "ready"
            mode = closed.stat().st_mode
            closed.chmod(0)
            problem = await problem_of(store)
            closed.chmod(mode)
        assert re.search("can't be read.*: Permission denied", problem)


NOBODY, OTHER_USER = 65534, 12345
#: What a site has made: paths with their owner, and their mode or (relative) target.
SITE_MADE: dict[str, tuple[tuple[str, int, int | str], ...]] = {
    "a link to the user's folder": (("fs/me", NOBODY, 0o700), ("scratch/me", 0, "{top}/fs/me")),
    "a relative link": (("fs/me", NOBODY, 0o755), ("scratch/me", 0, "../fs/me/")),
    "a link to a link": (
        ("fs/me", NOBODY, 0o700),
        ("scratch/old", 0, "../fs/me"),
        ("scratch/me", 0, "old"),
    ),
    "a folder with the user's in it": (
        ("scratch/me", 0, 0o755),
        ("scratch/me/vizdash", NOBODY, 0o755),
    ),
    "a link to a folder with the user's in it": (
        ("fs/me", 0, 0o755),
        ("fs/me/vizdash", NOBODY, 0o700),
        ("scratch/me", 0, "../fs/me"),
    ),
}
NOT_SITE_MADE: dict[str, tuple[tuple[str, int, int | str], ...]] = {
    "a link to another user's folder": (
        ("fs/me", OTHER_USER, 0o777),
        ("scratch/me", 0, "../fs/me"),
    ),
    "another user's link": (("fs/me", NOBODY, 0o700), ("scratch/me", OTHER_USER, "../fs/me")),
    "a link where all may write": (
        ("fs/me", NOBODY, 0o700),
        ("scratch/me", 0, "../fs/me"),
        ("scratch", 0, 0o1777),
    ),
    "a link where a group may write": (
        ("fs/me", NOBODY, 0o700),
        ("scratch/me", 0, "../fs/me"),
        ("scratch", 0, 0o775),
    ),
    "a link to where all may write": (("fs/me", 0, 0o1777), ("scratch/me", 0, "../fs/me")),
    "a link to another user's link": (
        ("fs/me", NOBODY, 0o700),
        ("scratch/old", OTHER_USER, "../fs/me"),
        ("scratch/me", 0, "old"),
    ),
    "a folder where all may write": (
        ("scratch/me", 0, 0o777),
        ("scratch/me/vizdash", NOBODY, 0o755),
    ),
    "a link below the user's own folder": (
        ("fs/me", NOBODY, 0o700),
        ("scratch/me", NOBODY, 0o755),
        ("scratch/me/vizdash", 0, "../../fs/me"),
    ),
    "a link to itself": (("scratch/me", 0, "me"),),
}


@contextlib.contextmanager
def made_by_site(
    parts: tuple[tuple[str, int, int | str], ...], *, here: bool
) -> Iterator[tuple[SessionStore, Path]]:
    """A store below scratch/%u/vizdash, and its folder. Only root can give folders away."""
    if os.geteuid() != 0:
        pytest.skip("only root can make what a site makes")
    name = account_name(NOBODY)
    with tempfile.TemporaryDirectory() as text:
        top = Path(text)
        for place in (top, top / "fs", top / "scratch"):
            place.mkdir(exist_ok=True)
            place.chmod(0o755)
        for path, owner, what in parts:
            place = top / path.replace("/me", f"/{name}")
            if isinstance(what, str):
                place.symlink_to(what.format(top=top).replace("me", name))
            else:
                place.mkdir(exist_ok=True)
                place.chmod(what)
            os.chown(place, owner, owner, follow_symlinks=False)
        with as_nobody():
            state_dir = f"{top}/scratch/%u/vizdash"
            made = LocalSessionStore(state_dir) if here else None
            yield made or RemoteSessionStore(LocalRunner(), state_dir), top / "scratch" / name


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("kind", SITE_MADE)
async def test_what_root_has_made_for_the_user_is_used(kind: str, *, here: bool) -> None:
    with made_by_site(SITE_MADE[kind], here=here) as (store, own):
        path = Path(await store.make(ID, RECORD))
        assert path == own / "vizdash/sessions" / ID
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_uid == NOBODY
        assert (await store.statuses([ID]))[ID].app == "desktop"


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("kind", NOT_SITE_MADE)
async def test_what_others_may_have_made_or_turned_is_not_used(kind: str, *, here: bool) -> None:
    refused = pytest.raises(Refused, match=r"a link, or not yours|Too many levels")
    with made_by_site(NOT_SITE_MADE[kind], here=here) as (store, _), refused:
        await store.make(ID, RECORD)
