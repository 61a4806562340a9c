"""Everything that reads what others wrote, as functions of bytes: for hypothesis, and for atheris.

A target may raise what its reader's docstring names, and nothing else. What it read is shown as a
verb with --json shows it: that must not fail either.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from vizdash import history, nodesets, output, presets, units
from vizdash.config import fields as config_fields
from vizdash.config import load
from vizdash.engines.local import records
from vizdash.engines.slurm import clusterconfig, jobdetails, parse, refusals, values
from vizdash.engines.slurm.reservations import reservations
from vizdash.errors import UsageError, VizdashError
from vizdash.files import write_whole
from vizdash.images import audit, buildlog, inventory, lease, look, runs, shell, sif
from vizdash.images.definition import read as read_definition
from vizdash.images.source import Chunks, MissingBytes
from vizdash.model import Job
from vizdash.model.journal import Journal
from vizdash.sessions import choice, comment, folder, infofile, listing, rfb, tunnel_records
from vizdash.transport import Result
from vizdash.transport.openssh.askpass import Question
from vizdash.transport.openssh.questions import as_prompt, read_question
from vizdash.transport.ssh import config_file, greeting, known_hosts, settings

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
SLURM = RECORDED / "24.11"
CORPUS = Path(__file__).with_name("corpus")
_NONCE: str = json.loads((SLURM / "commands.json").read_text())["nonce"]
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
    """``read`` gets the input and a folder of its own, ``recorded`` are files of good input beside
    those in the corpus, ``allowed`` the errors of bad input.
    """

    read: Callable[[bytes, Path], object]
    recorded: tuple[Path, ...] = ()
    allowed: tuple[type[Exception], ...] = (VizdashError,)

    def seeds(self, name: str) -> tuple[bytes, ...]:
        """Good inputs, and those that once broke it."""
        kept = (CORPUS / name).glob("*")
        return tuple(_bytes(path) for path in (*self.recorded, *sorted(kept)))


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data)[:40_000] if path.suffix == ".gz" else data[:40_000]


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
    """Put an input into the corpus: the tests try it from then on."""
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


def _slurm(*names: str) -> tuple[Path, ...]:
    return tuple(SLURM / name for name in names)


def _apptainer(pattern: str) -> tuple[Path, ...]:
    return tuple(sorted((RECORDED / "apptainer").glob(pattern)))


# ------------------------------------------------------------------------------------- Slurm


def _shown(jobs: tuple[Job, ...]) -> str:
    found = listing.sessions_of(jobs, "alice")
    rows = [output.session_row(session) for session in found]
    return json.dumps([output.session_json(session) for session in found]) + output.table(
        ["-"] * len(rows[0]) if rows else [], rows
    )


def _jobs(data: bytes, _place: Path) -> object:
    return _shown(parse.jobs(_text(data), _NONCE))


def _history(data: bytes, _place: Path) -> object:
    return _shown(parse.history(_text(data), _NONCE))


def _partitions(data: bytes, _place: Path) -> object:
    return parse.partitions(_text(data))


def _reservations(data: bytes, _place: Path) -> object:
    return reservations(_text(data))


def _job_commands(data: bytes, _place: Path) -> object:
    return list(jobdetails.job_commands(_text(data), _NONCE))


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
        parse.would_start(text),
    ]


def _config_told(data: bytes, _place: Path) -> object:
    text = _text(data)
    return clusterconfig.config(text), parse.admin_level(text, "alice"), jobdetails.job_log(text)


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
    return folder.read_status(_ID, place), folder.by_job(place)


def _info_file(data: bytes, _place: Path) -> object:
    text = f"{_MARK} file 1 /tmp/app_session_test-001.info\n{_text(data)}"
    answers = [infofile.Answer(_MARK, text), infofile.Answer(_MARK, _text(data))]
    return [infofile.parse_info(answer, "123") for answer in answers]


def _last_request(data: bytes, place: Path) -> object:
    path = _file(data, place)
    with mock.patch.object(choice, "_path", return_value=path):
        return choice.load("here")


def _presets(data: bytes, place: Path) -> object:
    kept = presets.Presets(_file(data, place, "presets.json"))
    kept.of("desktop")
    kept.remove("desktop", "none")
    return kept.of("desktop")


def _load_history(data: bytes, place: Path) -> object:
    return list(history.History(_file(data, place, "history.json")))


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


class _Played:
    """A reader that gives a text, and a writer that takes everything."""

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

        viewer = await rfb.Viewer.connect(dial, "secret12")
        for _ in range(50):
            await viewer.ask(whole=True)
            await viewer.update()

    asyncio.run(look_on())
    return None


def _tiles(data: bytes, _place: Path) -> object:
    rfb.draw_zrle(rfb.Screen.black(80, 70), (1, 2, 75, 66), data)
    return None


# ------------------------------------------------------------------------------------- images


def _sif(data: bytes, place: Path) -> object:
    return sif.read(_file(data, place, "x.sif"))


def _far_sif(data: bytes, _place: Path) -> object:
    return sif.parse(Chunks("x.sif", 1 << 40, data))


def _images(data: bytes, _place: Path) -> object:
    answer = shell.fields(f"{_MARK}\0{_text(data)}{_MARK}\0", _MARK, "viz-node001")
    place, images = look.parse(answer, "viz-node001", "/images")
    return place, images, inventory.Inventory().updated([(place, images)]).to_json()


def _journal(data: bytes, _place: Path) -> object:
    journal = Journal.parse("gedit", _text(data))
    return journal.before("1.0"), journal.stack("1.1"), journal.ran("1.2")


def _inventory(data: bytes, _place: Path) -> object:
    return inventory.Inventory.from_json(_text(data)).to_json()


def _audit(data: bytes, place: Path) -> object:
    log = _file(data, place, "site.log")
    return audit.history(str(log), own=_file(data, place, "own.log"))


def _lease(data: bytes, _place: Path) -> object:
    holder = lease.Holder.parse(_text(data))
    return holder.words if holder else ""


def _run(data: bytes, place: Path) -> object:
    log = _file(b"", place, "20260101-000000-ab12.log")
    _file(data, place, "20260101-000000-ab12.json")
    return runs._read(log)


def _build_log(data: bytes, _place: Path) -> object:
    log = buildlog.BuildLog()
    for line in _text(data).splitlines():
        log.feed(line)
    return log.failure(1)


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
    found.append(config_fields.nearest(_text(data)[:200], ("cores", "memory")))
    return found


def _node_set(data: bytes, _place: Path) -> object:
    return nodesets.chosen(_text(data), ("viz-node001", "viz-node002"))


def _comment(data: bytes, _place: Path) -> object:
    claim = comment.decode(_text(data))
    return comment.encode(claim) if claim else ""


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
            read = read_question(Question(_text(data), kind), version)
            found.append(as_prompt(read, "login", ("hello",), again=True))
    return found


def _greeting(data: bytes, _place: Path) -> object:
    return greeting.parse(_text(data))


_REPOSITORY = RECORDED.parents[1]

TARGETS: dict[str, Target] = {
    "squeue": Target(_jobs, _slurm("squeue.out", "squeue-user.out")),
    "sacct": Target(_history, _slurm("sacct.out")),
    "nodes": Target(_nodes, _slurm("nodes.out")),
    "partitions": Target(_partitions, _slurm("partitions.out")),
    "reservations": Target(_reservations, _slurm("reservations.out")),
    "slurm-config": Target(_config_told, _slurm("config.out", "user-olga.out")),
    "job-commands": Target(_job_commands),
    "slurm-values": Target(_slurm_values),
    "refusals": Target(_refused, _slurm("sbatch-qos.err", "sbatch-down.err", "limit-over.err")),
    "connection": Target(_connection),
    "status": Target(_status),
    "info-file": Target(_info_file),
    "last-request": Target(_last_request),
    "presets": Target(_presets),
    "history": Target(_load_history),
    "local-record": Target(_record),
    "tunnel-record": Target(_tunnel),
    "rfb": Target(_picture),
    "zrle": Target(_tiles),
    "sif": Target(_sif, _apptainer("*.head.gz")),
    "far-sif": Target(_far_sif, _apptainer("*.head.gz"), (VizdashError, MissingBytes)),
    "images": Target(_images),
    "journal": Target(_journal),
    "inventory": Target(_inventory, allowed=(VizdashError, ValueError)),
    "audit": Target(_audit),
    "lease": Target(_lease),
    "build-run": Target(_run),
    "build-log": Target(_build_log, _apptainer("*.err")),
    "definition": Target(_definition, tuple(sorted((_REPOSITORY / "assets/defs").glob("*.def")))),
    "config": Target(_config, (_REPOSITORY / "config.example.yaml",)),
    "units": Target(_units),
    "node-set": Target(_node_set, allowed=(UsageError,)),
    "comment": Target(_comment),
    "ssh-settings": Target(_ssh_settings),
    "ssh-config": Target(_ssh_config),
    "known-hosts": Target(_known_hosts),
    "ssh-question": Target(_question),
    "ssh-greeting": Target(_greeting),
}
