"""The info file that a legacy job script leaves on its node, ``/tmp/app_session_SESSION_ID.info``.

It says how to reach the desktop. Since every user can write to /tmp, only a regular file of the
job's user that names the job counts. It is read as that user, on the node: by ssh(1), or in a step
of the job (srun(1), --overlap), which also sees a private /tmp of the job.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vizdash.engines.slurm.commands import step
from vizdash.errors import NotFound, Unreachable, VizdashError, last_line
from vizdash.model import Job
from vizdash.sessions.folder import pairs_of
from vizdash.transport.base import NODE_ANSWER_LIMIT, Command, CommandRunner
from vizdash.transport.forwarders import SSH_OPTIONS
from vizdash.transport.node_ssh import NodeHosts

#: Seconds within which a node must answer.
_NODE_S = 20.0
#: The form of a SESSION_ID.
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"(?!-)[A-Za-z0-9.:_-]{1,255}")

#: A file is checked after it was opened, since its name may point elsewhere by then. JOB MARK
_READ = r"""
job=$1 mark=$2
printf '%s begin\n' "$mark"
for file in /tmp/app_session_*.info; do
  [ -f "$file" ] && [ ! -h "$file" ] && [ -O "$file" ] || continue
  {
    [ -f /dev/fd/3 ] && [ -O /dev/fd/3 ] || continue
    text=$(head -c 4096 <&3)
  } 3<"$file" || continue
  printf '%s\n' "$text" | grep -qx "JOB_ID=$job" || continue
  port=$(printf '%s\n' "$text" | sed -n 's/^VNC_PORT=\([0-9]\{1,5\}\)$/\1/p' | head -n 1)
  listens=0
  if [ -n "$port" ] && cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$(printf ':%04X$' "$port")" -v uid="$(id -u)" \
      '$2 ~ port && $4 == "0A" && $8 == uid {found = 1} END {exit !found}'; then
    listens=1
  fi
  printf '%s file %s %s\n%s\n' "$mark" "$listens" "$file" "$text"
done
printf '%s end\n' "$mark"
"""

#: The end of a log of the user's own. FILE MARK BYTES
_TAIL = r"""
file=$1 mark=$2
[ -e "$file" ] || { echo 'it is not there' >&2; exit 1; }
[ -f "$file" ] && [ ! -h "$file" ] && [ -O "$file" ] || { echo 'it is not your file' >&2; exit 1; }
printf '%s begin\n' "$mark"
tail -c "$3" -- "$file" && printf '\n%s end\n' "$mark"
"""

#: Whether a file could be made beside a job's log. FILE MARK
_UNWRITABLE = r"""
folder=${1%/*} mark=$2
LC_ALL=C; export LC_ALL
printf '%s begin\n' "$mark"
case $folder/ in "$HOME"/*) place=$HOME ;; *) place=${folder%/sessions/*} ;; esac
if [ -d "$folder" ]; then
  new=$folder/.look.$$
  if said=$({ head -c 8192 /dev/zero | cat >"$new"; } 2>&1); then said=; fi
  rm -f -- "$new"
  printf '%s\n%s\n' "$place" "${said##*: }"
else
  while [ -n "$folder" ] && [ ! -d "$folder" ]; do missing=$folder; folder=${folder%/*}; done
  printf '%s\nmissing\n' "$missing"
fi
printf '%s end\n' "$mark"
"""
#: What a failed write prints there, and our words: {place}, {node}.
_WHY = {
    "missing": "{place} is not there on {node}",
    "No space left on device": "no space left in {place} on {node}",
    "Disk quota exceeded": "the disk quota of {place} is used up",
    "Read-only file system": "{place} is read-only on {node}",
}

#: Removes the info file of the user's own job that was stopped. FILE JOB
_REMOVE = r"""
file=$1 job=$2
[ -f "$file" ] && [ ! -h "$file" ] && [ -O "$file" ] && grep -qx "JOB_ID=$job" "$file" || exit 0
rm -f -- "$file"
"""


@dataclass(frozen=True, slots=True)
class LegacyInfo:
    """The content of an info file. ``listens`` is whether the user listens at ``port`` of the node,
    ``route`` how the file was read: ``ssh`` or ``srun``.
    """

    session_id: str
    node_ip: str
    port: int
    listens: bool
    started_at: int = 0
    route: str = ""


class NodeFileReader:
    """Reads files on nodes as the user. ``tunnel`` is that of the cluster's configuration: only the
    route that it names is used, else ssh is tried before srun.
    """

    def __init__(self, runner: CommandRunner, hosts: NodeHosts, tunnel: str) -> None:
        self._runner = runner
        self._hosts = hosts
        # ``hop`` is the ssh of this machine, where commands do not run.
        self._routes = {"ssh": ("ssh",), "srun": ("srun",), "hop": ("srun",)}.get(
            tunnel, ("ssh", "srun")
        )

    async def info(self, job: Job, *, both: bool) -> LegacyInfo | None:
        """The info file of the user's own running job; None where there is none. ``both`` is
        whether the second route is tried, too, where the first one finds none.

        Raises Unreachable or TimedOut where no route reaches the node.
        """
        error: VizdashError | None = None
        for route in self._routes:
            try:
                answer = await self._run(route, job, _READ, (job.id,))
            except VizdashError as e:
                error = error or e
                continue
            error = None
            info = parse_info(answer, job.id)
            if info is not None:
                return replace(info, route=route)
            if not both:
                return None
        if error is not None:
            raise error
        return None

    async def tail(self, job: Job, path: str, limit: int) -> str:
        """The last ``limit`` bytes of a file of the user's own. Raises VizdashError."""
        error: VizdashError | None = None
        for route in self._routes if job.state.waiting or not job.state.ended else ("ssh",):
            try:
                return (await self._run(route, job, _TAIL, (path,), str(limit))).text
            except VizdashError as e:
                error = error or e
        assert error is not None
        raise error

    async def unwritable(self, job: Job, path: str) -> str:
        """Why the log of an ended job could not be opened on its node, in words; empty where it can
        be opened now. Raises VizdashError.
        """
        answer = await self._run("ssh", job, _UNWRITABLE, (path,))
        place, _, why = answer.text.strip("\n").partition("\n")
        words = _WHY.get(why, "{place} can't be written on {node}: {why}") if why else ""
        return words.format(place=place, node=job.nodes[0], why=why)

    async def remove(self, job: Job, info: LegacyInfo) -> None:
        """Remove the info file of the user's own job. Raises VizdashError."""
        path = f"/tmp/app_session_{info.session_id}.info"  # noqa: S108
        command = await self._command(info.route, job, _REMOVE, (path, job.id))
        await self._runner.run(command)

    async def _run(
        self, route: str, job: Job, script: str, words: tuple[str, ...], *more: str
    ) -> ScriptOutput:
        mark = secrets.token_hex(12)
        result = await self._runner.run(
            await self._command(route, job, script, (*words, mark, *more))
        )
        _, begun, rest = result.stdout.partition(f"{mark} begin\n")
        text, ended, _ = rest.rpartition(f"{mark} end\n")
        if not begun or not ended:
            why = last_line(result.stderr) or f"{route} ended with code {result.code}"
            if route == "ssh" and result.code != 255:
                raise NotFound(job.nodes[0], why)
            raise Unreachable(f"{route} {job.nodes[0]}", why)
        return ScriptOutput(mark, text)

    async def _command(self, route: str, job: Job, script: str, words: tuple[str, ...]) -> Command:
        node = job.nodes[0]
        if route == "srun":
            argv = step(job.id, node, ("sh", "-c", script, "sh", *words))
            return Command(argv, timeout_s=_NODE_S, limit_bytes=NODE_ANSWER_LIMIT)
        host = await self._hosts.find(node)
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        remote = shlex.join(("sh", "-s", "--", *words))
        argv = ("ssh", "-T", *options, *host.options, host.name, remote)
        limit = NODE_ANSWER_LIMIT
        return Command(argv, input=script, timeout_s=_NODE_S, limit_bytes=limit)


@dataclass(frozen=True, slots=True)
class ScriptOutput:
    """What a script printed between its marks."""

    mark: str
    text: str


def parse_info(answer: ScriptOutput, job_id: str) -> LegacyInfo | None:
    """The info file of job ``job_id`` in a script's output; None where none is valid."""
    for part in answer.text.split(f"{answer.mark} file ")[1:]:
        head, _, text = part.partition("\n")
        listens, _, path = head.partition(" ")
        info = _info(pairs_of(text) or {}, job_id, listens=listens == "1")
        if info and path == f"/tmp/app_session_{info.session_id}.info":  # noqa: S108
            return info
    return None


def _info(values: Mapping[str, str], job_id: str, *, listens: bool) -> LegacyInfo | None:
    session_id, port = values.get("SESSION_ID", ""), values.get("VNC_PORT", "")
    if values.get("JOB_ID") != job_id or not SESSION_ID.fullmatch(session_id):
        return None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        return None
    address, began = values.get("NODE_IP", "").strip(), values.get("START_TIME", "")
    return LegacyInfo(
        session_id,
        address if _HOST.fullmatch(address) else "",
        int(port),
        listens,
        int(began) if re.fullmatch(r"[0-9]{1,12}", began) else 0,
    )
