"""Every reader of foreign data as a function of bytes, for Hypothesis and for Atheris.

A target may raise only what its reader's docstring names. What it read is printed as a verb with
--json prints it, which must not fail either.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tests.unit.engines.slurm_replay import Recording, as_everyones_jobs
from tests.unit.images import recorded_images
from vizdash.cli import output
from vizdash.cli import share as share_verb
from vizdash.config import load
from vizdash.config import readers as config_readers
from vizdash.engines.job_selection import JobSelection
from vizdash.engines.local import records
from vizdash.engines.slurm import (
    associations,
    cluster_config,
    parse,
    refusals,
    sbatch_options,
    values,
)
from vizdash.engines.slurm.job_lines import JobLines
from vizdash.engines.slurm.parse import reservations
from vizdash.errors import UsageError, VizdashError
from vizdash.images import (
    audit_log,
    build_history,
    build_output,
    change_lock,
    drift,
    node_script,
    sif,
    survey,
)
from vizdash.images.definition import read_definition
from vizdash.images.sif import FetchedBytes, MissingBytes
from vizdash.model import Job
from vizdash.model.image import Journal
from vizdash.service import load_history, presets, saved_snapshot
from vizdash.sessions import (
    comment,
    folder,
    join,
    last_request,
    legacy_info_file,
    listing,
    rfb,
    sbatch_arguments,
    share_records,
    shared_desktop,
    tunnel_records,
)
from vizdash.transport import Result, websocket
from vizdash.transport.openssh.askpass import SshQuestion, make_prompt, parse_question
from vizdash.transport.ssh import config_file, known_hosts, remote_info, settings
from vizdash.util import nodesets, units
from vizdash.util.files import write_whole

SLURM = Recording("24.11")
CORPUS = Path(__file__).with_name("corpus")
_NONCE = SLURM.nonce
_ID = "3f9a01bc"
_MARK = "vizdash-0123456789abcdef"

#: What breaks readers: Python refuses to read a number of over 4,300 digits, JSON knows numbers
#: that are none, and a parser in Python has a stack.
WORDS = (
    *(b"", b"\0", b"\n", b"\r", b" ", b"\t", b"=", b":", b",", b"-", b"/", b"[", b"]", b"(", b")"),
    *(b"{", b"}", b'"', b"'", b"\\", b"%", b"|", b"\xff\xfe", b"\xed\xb2\x80", b"\x1b[2J"),
    *(b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"nan", b"inf", b"18446744073709551616"),
    *(b"9" * 5000, "\u0663\u00b2".encode(), b"null", b"true", b"[1]", b'{"a":1}', b"1.5"),
    *(b"[" * 3000, b'{"a":' * 3000, b"[0-9]", b"[1-0]", b"UNLIMITED", b"(null)", b"N/A"),
)
#: Whole inputs.
HOSTILE = (b"", b"\0" * 4096, b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"\xff" * 300)


@dataclass(frozen=True)
class Target:
    """``read`` gets the input and an empty folder, ``recorded`` is good input beside the files in
    the corpus, ``allowed`` the errors of bad input.
    """

    read: Callable[[bytes, Path], object]
    recorded: tuple[bytes, ...] = ()
    allowed: tuple[type[Exception], ...] = (VizdashError,)

    def seeds(self, name: str) -> tuple[bytes, ...]:
        """Good inputs, and inputs that have broken this reader before."""
        kept = (path.read_bytes() for path in sorted((CORPUS / name).glob("*")))
        return tuple(data[:40_000] for data in (*self.recorded, *kept))


def run(name: str, data: bytes, place: Path) -> None:
    """Feed one input to the target called ``name``. Raises what the target must not raise."""
    target = TARGETS[name]
    try:
        repr(target.read(data, place))
    except VizdashError as e:
        if len(e.line.splitlines()) > 1:
            raise AssertionError(f"more than a line: {e.line}") from e
    except target.allowed:
        return


def keep(name: str, data: bytes) -> Path:
    """Add an input to the corpus, so that the tests try it from now on."""
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _file(data: bytes, place: Path, name: str = "file") -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def _slurm(*names: str) -> tuple[bytes, ...]:
    """What these commands of Slurm printed: stdout, or stderr where there is none."""
    found = [SLURM.command(name) for name in names]
    return tuple(command.stdout or command.stderr for command in found)


def _sif_heads() -> tuple[bytes, ...]:
    return tuple(recorded_images.head(name) for name in sorted(recorded_images.SIZES))


def _builds() -> tuple[bytes, ...]:
    outputs = (recorded_images.BUILDS, recorded_images.VERIFICATIONS)
    return tuple(one.stderr for commands in outputs for one in commands.values())


# ------------------------------------------------------------------------------------- Slurm


def _shown(jobs: tuple[Job, ...]) -> str:
    found = listing.sessions_from_jobs(jobs, "alice")
    rows = [output.session_row(session) for session in found]
    return json.dumps([output.session_json(session) for session in found]) + output.table(
        ["-"] * len(rows[0]) if rows else [], rows
    )


def _jobs(data: bytes, _place: Path) -> object:
    return _shown(parse.jobs(_text(data), _NONCE))


def _everyones_jobs(data: bytes, _place: Path) -> object:
    selection = JobSelection("alice", frozenset({"vizdash"}), frozenset({"viz-node001"}), True)
    selected = asyncio.run(JobLines().select(_text(data), _NONCE, selection))
    return _shown(selected.every)


def _everyones_seed() -> bytes:
    answer = as_everyones_jobs(SLURM.answer("squeue").stdout, SLURM.nonce, _NONCE)
    return os.fsencode(answer)


def _history(data: bytes, _place: Path) -> object:
    return _shown(parse.history(_text(data), _NONCE))


def _partitions(data: bytes, _place: Path) -> object:
    return parse.partitions(_text(data))


def _reservations(data: bytes, _place: Path) -> object:
    return reservations(_text(data))


def _job_commands(data: bytes, _place: Path) -> object:
    return list(parse.job_commands(_text(data), _NONCE))


def _nodes(data: bytes, _place: Path) -> object:
    nodes = parse.nodes(_text(data))
    return json.dumps([output.node_json(n) for n in nodes]), [output.node_row(n) for n in nodes]


def _slurm_values(data: bytes, _place: Path) -> object:
    text = _text(data)
    readers = (values.gres, values.seconds, values.epoch, values.limit, values.number)
    return [reader(text) for reader in readers], [
        values.mebibytes(text, 4),
        values.real(text),
        values.names(text),
        values.node_gres(text, text),
        parse.node_state(text),
        parse.tres_gres(text),
        parse.job_gres(text),
        parse.parse_test_only(text),
    ]


def _slurm_config(data: bytes, _place: Path) -> object:
    text = _text(data)
    limit = associations.wall_limit(text, "alice", "", associations.default_qos(text, "science"))
    return cluster_config.config(text), parse.admin_level(text, "alice"), parse.job_log(text), limit


def _refused(data: bytes, _place: Path) -> object:
    result = Result(1, "", _text(data))
    errors = (
        refusals.refusal("x was not started", result),
        refusals.change_refusal("x", result, "scontrol"),
        refusals.failure("squeue", result),
    )
    for error in errors:
        assert len(error.line.splitlines()) == 1, error.line
    return errors


# ------------------------------------------------------------------------------------- sessions


def _connection(data: bytes, place: Path) -> object:
    folder.connection_of(_ID, folder.pairs_of(_text(data)))
    _file(data, place, f"{_ID}/connection")
    return folder.read_connection(_ID, place)


def _status(data: bytes, place: Path) -> object:
    for name in folder.STATUS_FILES:
        _file(data, place, f"{_ID}/{name}")
    return folder.read_status(_ID, place), folder.job_ids(place)


def _info_file(data: bytes, _place: Path) -> object:
    text = f"{_MARK} file 1 /tmp/app_session_test-001.info\n{_text(data)}"
    answers = [
        legacy_info_file.ScriptOutput(_MARK, text),
        legacy_info_file.ScriptOutput(_MARK, _text(data)),
    ]
    return [legacy_info_file.parse_info(answer, "123") for answer in answers]


def _last_request(data: bytes, place: Path) -> object:
    path = _file(data, place)
    with mock.patch.object(last_request, "_path", return_value=path):
        return last_request.load("here")


def _presets(data: bytes, place: Path) -> object:
    kept = presets.Presets(_file(data, place, "presets.json"))
    kept.of("desktop")
    kept.remove("desktop", "none")
    return kept.of("desktop")


def _saved_snapshot(data: bytes, place: Path) -> object:
    return saved_snapshot.load_snapshot(_file(data, place, "snapshot.json"))


def _load_history(data: bytes, place: Path) -> object:
    return list(load_history.LoadHistory(_file(data, place, "history.json")))


def _record(data: bytes, place: Path) -> object:
    _file(data, place, f"{_ID}/job.json")
    _file(data, place, f"{_ID}/supervisor")
    return list(records.read_all(place)), records.supervisor(place / _ID)


def _tunnel(data: bytes, place: Path) -> object:
    place.chmod(0o700)
    path = place / "a.json"
    write_whole(path, "")
    path.write_bytes(data)
    return tunnel_records.read_tunnels(place)


_SHARE_SEED = json.dumps({
    "id": "a", "session": "3f9a01bc", "job_id": "7", "app": "x", "cluster": "viz", "pid": 1,
    "started": "1", "opened_at": 1, "machine": "", "host": "", "pid_space": "", "boot": "",
    "guest": "bob", "control": False, "expires_at": None, "login_host": "login", "watching": 0,
}).encode()  # fmt: skip
_OFFER_SEED = json.dumps({
    "schema": 1, "session": "3f9a01bc", "job_id": "7", "app": "x", "guest": "bob",
    "control": False, "expires_at": 9, "owner": "alice", "folder": "/tmp/vizdash-share-a",
}).encode()  # fmt: skip
#: Encodings, a request for the picture, a key, a text, and a fence.
_GUEST_SEED = bytes.fromhex(
    "02000002ffffff21ffffff11030000000000010001000401000000000061"
    "06000000000000026869f8000000000000000161"
)  # fmt: skip


def _share(data: bytes, place: Path) -> object:
    place.chmod(0o700)
    write_whole(place / "a.json", "")
    (place / "a.json").write_bytes(data)
    return share_records.read_shares(place)


def _offers(data: bytes, _place: Path) -> object:
    return [share_verb.offer_json(offer) for offer in join.parse_offers(_text(data))]


def _guest(data: bytes, _place: Path) -> object:
    return [shared_desktop.InputFilter(control=control).feed(data) for control in (True, False)]


class _Played:
    """A reader that returns a text, and a writer that accepts everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, n: int = -1, /) -> bytes:
        data, self._data = self._data[:n], self._data[n:]
        return data

    def write(self, data: bytes, /) -> None:
        pass

    async def drain(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        pass


def _picture(data: bytes, _place: Path) -> object:
    async def look_on() -> None:
        played = _Played(data)

        async def dial() -> tuple[_Played, _Played]:
            return played, played

        viewer = await rfb.RfbClient.connect(dial, "secret12")
        for _ in range(50):
            await viewer.ask(whole=True)
            await viewer.update()

    asyncio.run(look_on())
    return None


def _frames(data: bytes, _place: Path) -> object:
    async def look_on() -> bytes:
        played = _Played(b"")
        reader = websocket._FrameReader(_Played(data), websocket._FrameWriter(played), data[:7])
        found = b""
        while part := await reader.read(100):
            found += part
        return found

    return asyncio.run(look_on())


def _tiles(data: bytes, _place: Path) -> object:
    rfb.draw_zrle(rfb.Framebuffer.black(80, 70), (1, 2, 75, 66), data)
    return None


# ------------------------------------------------------------------------------------- images


def _sif(data: bytes, place: Path) -> object:
    return sif.read(_file(data, place, "x.sif"))


def _far_sif(data: bytes, _place: Path) -> object:
    return sif.parse(FetchedBytes("x.sif", 1 << 40, data))


def _images(data: bytes, _place: Path) -> object:
    answer = node_script.split_answer(f"{_MARK}\0{_text(data)}{_MARK}\0", _MARK, "viz-node001")
    place, images = survey.parse_answer(answer, "viz-node001", "/images")
    return place, images, drift.Inventory().updated([(place, images)]).to_json()


def _journal(data: bytes, _place: Path) -> object:
    journal = Journal.parse("gedit", _text(data))
    return journal.before("1.0"), journal.stack("1.1"), journal.ran("1.2")


def _inventory(data: bytes, _place: Path) -> object:
    return drift.Inventory.from_json(_text(data)).to_json()


def _audit(data: bytes, place: Path) -> object:
    log = _file(data, place, "site.log")
    return audit_log.read_events(str(log), own=_file(data, place, "own.log"))


def _change_lock(data: bytes, _place: Path) -> object:
    holder = change_lock.LockHolder.parse(_text(data))
    return holder.description if holder else ""


def _run(data: bytes, place: Path) -> object:
    log = _file(b"", place, "20260101-000000-ab12.log")
    _file(data, place, "20260101-000000-ab12.json")
    return build_history._read(log)


def _build_log(data: bytes, _place: Path) -> object:
    log = build_output.BuildOutput()
    for line in _text(data).splitlines():
        log.feed(line)
    return log.explain_failure(1)


def _definition(data: bytes, place: Path) -> object:
    found = read_definition(_file(data, place, "x.def"))
    return found.arguments, found.defaults, found.version, found.sources({"a": "b"})


# ------------------------------------------------------------------------------------- the rest


def _config(data: bytes, place: Path) -> object:
    _config, explain = load(path=str(_file(data, place, "config.yaml")), environ={})
    return explain()


def _units(data: bytes, _place: Path) -> object:
    found: list[object] = []
    for reader in (units.parse_memory, units.parse_duration):
        try:
            found.append(reader(_text(data)))
        except ValueError as e:
            found.append(str(e))
    found.append(config_readers.nearest(_text(data)[:200], ("cores", "memory")))
    return found


def _node_set(data: bytes, _place: Path) -> object:
    return nodesets.select_nodes(_text(data), ("viz-node001", "viz-node002"))


def _comment(data: bytes, _place: Path) -> object:
    claim = comment.decode(_text(data))
    return comment.encode(claim) if claim else ""


def _sbatch_lines(data: bytes, _place: Path) -> object:
    text = _text(data)
    sbatch_arguments.check_script_arguments(text, "site.sh")
    found = sbatch_arguments.script_arguments(text)
    return found, sbatch_options.without_options(text, lambda option: option.name == "mem")


def _ssh_settings(data: bytes, _place: Path) -> object:
    return settings.host_settings("login", settings.parse_values(_text(data)))


def _ssh_config(data: bytes, place: Path) -> object:
    path = _file(data, place, "config")
    return config_file.read_values("login", "", 0, "", str(place), files=[path])


def _known_hosts(data: bytes, place: Path) -> object:
    return known_hosts.find_lines("login", _file(data, place, "known_hosts"))


def _question(data: bytes, _place: Path) -> object:
    found = []
    for kind in ("", "confirm", "none"):
        for version in ((8, 0), (9, 2)):
            read = parse_question(SshQuestion(_text(data), kind), version)
            found.append(make_prompt(read, "login", ("hello",), again=True))
    return found


def _greeting(data: bytes, _place: Path) -> object:
    return remote_info.parse_answer(_text(data))


_REPOSITORY = Path(__file__).resolve().parents[2]
_SBATCH_LINES = (
    (_REPOSITORY / "tests/lab/files/gedit_vnc_job.sh").read_bytes(),
    b"#SBATCH -Hc2 --mem 2G --comment='a \"b\"' # why\n#SBATCH --qo=x --plugin y\n#SBATCH hetjob\n",
)
_DEFINITIONS = sorted((_REPOSITORY / "assets/defs").glob("*.def"))

TARGETS: dict[str, Target] = {
    "squeue": Target(_jobs, _slurm("squeue", "squeue-user")),
    "squeue-everyone": Target(_everyones_jobs, (_everyones_seed(),)),
    "sacct": Target(_history, _slurm("sacct")),
    "nodes": Target(_nodes, _slurm("nodes")),
    "partitions": Target(_partitions, _slurm("partitions")),
    "reservations": Target(_reservations, _slurm("reservations")),
    "slurm-config": Target(_slurm_config, _slurm("config", "user-olga")),
    "job-commands": Target(_job_commands),
    "slurm-values": Target(_slurm_values),
    "refusals": Target(_refused, _slurm("sbatch-qos", "sbatch-down", "limit-over")),
    "connection": Target(_connection),
    "status": Target(_status),
    "info-file": Target(_info_file),
    "last-request": Target(_last_request),
    "presets": Target(_presets),
    "history": Target(_load_history),
    "saved-snapshot": Target(_saved_snapshot),
    "local-record": Target(_record),
    "tunnel-record": Target(_tunnel),
    "rfb": Target(_picture),
    "websocket": Target(_frames, allowed=(OSError,)),
    "zrle": Target(_tiles),
    "share": Target(_share, (_SHARE_SEED,)),
    "offers": Target(_offers, (_OFFER_SEED,)),
    "guest": Target(_guest, (_GUEST_SEED,), (VizdashError,)),
    "sif": Target(_sif, _sif_heads()),
    "far-sif": Target(_far_sif, _sif_heads(), (VizdashError, MissingBytes)),
    "images": Target(_images),
    "journal": Target(_journal),
    "inventory": Target(_inventory, allowed=(VizdashError, ValueError)),
    "audit": Target(_audit),
    "change-lock": Target(_change_lock),
    "build-run": Target(_run),
    "build-log": Target(_build_log, _builds()),
    "definition": Target(_definition, tuple(path.read_bytes() for path in _DEFINITIONS)),
    "config": Target(_config, ((_REPOSITORY / "config.example.yaml").read_bytes(),)),
    "units": Target(_units),
    "node-set": Target(_node_set, allowed=(UsageError,)),
    "comment": Target(_comment),
    "sbatch-lines": Target(_sbatch_lines, _SBATCH_LINES),
    "ssh-settings": Target(_ssh_settings),
    "ssh-config": Target(_ssh_config),
    "known-hosts": Target(_known_hosts),
    "ssh-question": Target(_question),
    "ssh-greeting": Target(_greeting),
}
