"""The user, home and programs on the login host, queried once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Programs that vizdash may use there.
PROGRAMS = (
    "sinfo", "squeue", "scontrol", "sbatch", "scancel", "srun", "ssh", "rsync", "apptainer",
    "singularity", "sacct", "clush", "python3",
)  # fmt: skip

#: Where a profile or a module sets up Slurm, a login shell has it on PATH; bash reads the files
#: that sites provide.
_SCRIPT = """
mark=$1
say() { printf '%s=%s\\n' "$1" "$2"; }
if ! command -v squeue >/dev/null 2>&1 && command -v bash >/dev/null 2>&1; then
  told=$(bash -lc 'printf "%s%s%s%s" "$1" "$PATH" "$1" "${SLURM_CONF:-}"' - "$mark" \\
    2>/dev/null </dev/null)
  case $told in
    *"$mark"*"$mark"*)
      told=${told#*"$mark"}
      PATH=${told%"$mark"*}; export PATH
      say path "$PATH"
      say slurm_conf "${told##*"$mark"}"
      ;;
  esac
fi
say user "$(id -un)"
say home "$HOME"
say host "$(uname -n)"
say runtime "${XDG_RUNTIME_DIR:-}"
for name in PROGRAMS; do
  if command -v "$name" >/dev/null 2>&1; then say has "$name"; fi
done
"""


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """The answer. ``environ`` holds the variables that commands need beside a login shell's."""

    user: str
    home: str
    host: str
    runtime_dir: str
    programs: frozenset[str]
    environ: Mapping[str, str] = field(default_factory=dict)


def query_command(mark: str) -> tuple[str, ...]:
    """The command that queries it; ``mark`` is random."""
    return ("sh", "-c", _SCRIPT.replace("PROGRAMS", " ".join(PROGRAMS)), "-", mark)


def parse_answer(text: str) -> RemoteInfo:
    """Parse the command's output."""
    values: dict[str, str] = {}
    programs = set()
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "has":
            programs.add(value)
        else:
            values.setdefault(key, value)
    names = {"path": "PATH", "slurm_conf": "SLURM_CONF"}
    environ = {name: values[key] for key, name in names.items() if values.get(key)}
    return RemoteInfo(
        user=values.get("user", ""),
        home=values.get("home", ""),
        host=values.get("host", ""),
        runtime_dir=values.get("runtime", ""),
        programs=frozenset(programs),
        environ=environ,
    )
