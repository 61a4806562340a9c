"""Variants of sites: a row of ``VARIANTS`` for each; test_variants.py runs on each.

A row lists what differs at its site: slurm.conf(5) parameters, lines for nodes and partition,
job_submit.lua, files of hosts, scripts that run before their daemons start, the user's start-up
files and the site's configuration of vizdash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import recipe

#: A login host and two nodes are enough, and start faster than three.
NODES = recipe.NODES[:2]
_CONF = "etc/slurm/slurm.conf"
_LUA = """
function slurm_job_submit(job, partitions, uid)
{submit}
   return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
{modify}
   return slurm.SUCCESS
end
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of site.

    ``conf`` sets parameters of slurm.conf (None removes one). ``node`` is a node's line with
    {host} and {address} filled in; ``partition`` is appended to the partition's line. ``submit``
    and ``modify`` are Lua inside of job_submit.lua's functions, about ``job``. ``files`` are
    laid over every host, ``node_files`` over nodes (path: text; programs, in a bin folder, can be
    run). ``setup`` and ``node_setup`` are shell scripts that run there as root before the daemons.
    ``home`` are files of alice's home. ``config`` is the site's configuration. ``start`` are more
    words for ``vizdash start``, and ``writes`` is a folder that alice's sessions can write and the
    login host sees. ``proof`` is a shell command that succeeds, as root on the node of a session,
    if the site really is such a variant.
    """

    name: str
    conf: Mapping[str, str | None] = field(default_factory=dict)
    node: str = "NodeName={host} CPUs=8 RealMemory=8192"
    partition: str = ""
    submit: str = ""
    modify: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    node_files: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    node_setup: str = ""
    home: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    app: str = "desktop"
    start: tuple[str, ...] = ()
    writes: str = "/home/alice"
    proof: str = "true"
    accounts: bool = False

    def lay(self, run: Path, host: str, upper: Path) -> None:
        """Lay this variant's files over those of a host that is about to start."""
        node = host in recipe.NODES
        conf = upper / _CONF
        conf.write_text(self._slurm_conf(conf.read_text()))
        if self.submit or self.modify:
            lua = _LUA.format(submit=self.submit, modify=self.modify)
            (upper / "etc/slurm/job_submit.lua").write_text(lua)
        files = {**self.files, **(self.node_files if node else {})}
        if self.config and not node:
            files["etc/vizdash/config.yaml"] = self.config
        if setup := f"{self.setup}\n{self.node_setup if node else ''}".strip():
            files["etc/lab-setup.sh"] = f"set -eu\n{setup}\n"
        for path, text in files.items():
            place = upper / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(0o755 if "bin/" in path else 0o644)
        home = run / "home/alice"
        for path, text in self.home.items():
            place = home / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(0o755 if "bin/" in path else 0o644)

    def _slurm_conf(self, text: str) -> str:
        changed = {*self.conf, "NodeName", "PartitionName"}
        kept = [line for line in text.splitlines() if line.partition("=")[0] not in changed]
        kept += [f"{key}={value}" for key, value in self.conf.items() if value is not None]
        for host in NODES:
            kept.append(self.node.format(host=host, address=recipe.ADDRESSES[host]))
        times = "Default=YES MaxTime=8:00:00 DefaultTime=2:00:00 State=UP"
        kept.append(f"PartitionName=viz Nodes=ALL {times} {self.partition}")
        return "\n".join(kept) + "\n"


def _cluster(*lines: str) -> str:
    """A site's configuration with these lines about the cluster."""
    return "clusters:\n  lab:\n" + "".join(f"    {line}\n" for line in lines)


def _shell(path: str) -> str:
    return f"usermod -s {path} alice"


#: Broken programs that a user's environment puts before the system's.
_BROKEN = "#!/bin/sh\necho 'this is not the one you want' >&2\nexit 1\n"
_BASHRC = """
echo Welcome to the cluster, $USER
export PATH=$HOME/conda/bin:$PATH LD_LIBRARY_PATH=$HOME/conda/lib PYTHONPATH=$HOME/conda/python
[ -z "$SLURM_JOB_ID" ] || export PYTHONHOME=$HOME/conda
"""

_CONDA = {
    ".bashrc": _BASHRC,
    "conda/bin/python3": _BROKEN,
    "conda/bin/dbus-daemon": _BROKEN,
    "conda/bin/websockify": _BROKEN,
    "conda/python/numpy/__init__.py": "raise ImportError('not this numpy')\n",
}
#: A file system besides home that all hosts share.
_SCRATCH = """
mkdir -p /scratch /home/.scratch/alice
mount --bind /home/.scratch /scratch
chown alice: /scratch/alice
chmod 700 /scratch/alice
"""
#: A lab's cgroups below the machine's own, named so that `Lab` removes them.
_CGROUPS = """
touch /home/.cgroups
mount -t tmpfs cgroup /sys/fs/cgroup
for controller in freezer memory cpuset cpuacct; do
  place=/sys/fs/cgroup/$controller
  mkdir $place
  mount -t cgroup -o $controller cgroup $place
  mkdir -p $place/$LAB_RUN-$(hostname)
  # A cpuset without any core or memory node takes no process.
  for file in cpuset.cpus cpuset.mems; do
    [ ! -e $place/$file ] || cat $place/$file >$place/$LAB_RUN-$(hostname)/$file
  done
  mount --bind $place/$LAB_RUN-$(hostname) $place
done
"""

#: A host app like the desktop image, with its terminal at the same position.
_PLAIN = """
apps:
  plain:
    runtime: host
    host_command: "xsetroot -solid '#31516f'; exec openbox --startup 'xterm -geometry 100x28+60+60'"
    resources: {cores: 1, memory: 1G, time: 1h}
"""

VARIANTS = (
    Variant(
        "memory-untracked",
        conf={"SelectTypeParameters": "CR_Core"},
        node="NodeName={host} CPUs=8",
    ),
    Variant(
        "mem-forbidden",
        submit="""
   if job.min_mem_per_node ~= nil or job.min_mem_per_cpu ~= nil then
      slurm.log_user("--mem and --mem-per-cpu are not allowed here")
      return slurm.ERROR
   end""",
        conf={"DefMemPerCPU": "1024"},
        config=_cluster("memory_request: none"),
    ),
    Variant(
        "mem-per-cpu",
        submit="""
   if job.min_mem_per_node ~= nil or job.min_mem_per_cpu == nil then
      slurm.log_user("use --mem-per-cpu here")
      return slurm.ERROR
   end""",
        config=_cluster("memory_request: mem-per-cpu"),
    ),
    Variant(
        "comment-rewritten",
        submit="   job.comment = 'project=none'",
        modify="   if job.comment ~= nil then job.comment = 'project=none' end",
    ),
    Variant("scontrol-refused", node_files={"usr/bin/scontrol": _BROKEN}),
    Variant(
        "smt",
        node="NodeName={host} CPUs=8 Sockets=1 CoresPerSocket=4 ThreadsPerCore=2 RealMemory=8192",
    ),
    Variant("exclusive", partition="OverSubscribe=EXCLUSIVE"),
    Variant("hidden", partition="Hidden=YES", config=_cluster("partition: viz")),
    Variant("private-data", conf={"PrivateData": "jobs,nodes,partitions,reservations"}),
    Variant(
        "node-addr",
        node="NodeName=slurm-{host} NodeHostname={host} NodeAddr={address} CPUs=8 RealMemory=8192",
        proof="! getent hosts slurm-viz-node001",
    ),
    Variant(
        "no-home",
        setup=_SCRATCH,
        node_setup="umount /home",
        config=_cluster("state_dir: /scratch/%u/vizdash", "binds: [/scratch]"),
        writes="/scratch/alice",
        proof="! test -e /home/alice",
    ),
    Variant(
        "private-tmp",
        # Not by job_container/tmpfs: Slurm 24.11 loses jobs that begin at the same moment ("ns base
        # mount failed").
        conf={"UsePAM": "1"},
        files={
            "etc/pam.d/slurm": "auth required pam_permit.so\naccount required pam_permit.so\n"
            "session required pam_permit.so\nsession required pam_namespace.so\n",
            "etc/security/namespace.conf": "/tmp /run/tmp-instances/ user root\n",
        },
        node_setup="install -d -m 000 /run/tmp-instances",
        proof="pgrep -u alice Xvnc && ! ls -d /tmp/vizdash*",
    ),
    Variant(
        "no-ssh-to-nodes",
        node_files={"etc/ssh/sshd_config.d/closed.conf": "AllowUsers root\n"},
        proof="! setpriv --reuid=alice --regid=alice --clear-groups ssh -o BatchMode=yes"
        " -i /home/alice/.ssh/id_ed25519 alice@localhost true",
    ),
    Variant(
        "cgroup",
        conf={
            "ProctrackType": "proctrack/cgroup",
            "TaskPlugin": "task/cgroup",
            "JobAcctGatherType": "jobacct_gather/cgroup",
        },
        node_files={"etc/slurm/cgroup.conf": "CgroupPlugin=cgroup/v1\nConstrainCores=no\n"},
        node_setup=_CGROUPS,
        proof="grep job_ /proc/$(pgrep -u alice -o Xvnc)/cgroup",
    ),
    Variant("accounting", accounts=True, start=("--qos", "small")),
    Variant("rate-limited", conf={"SlurmctldParameters": "rl_enable"}),
    Variant(
        "tcsh",
        setup=_shell("/bin/tcsh"),
        home={".cshrc": "echo Csh-noise\necho -n no newline\n"},
        proof="getent passwd alice | grep /bin/tcsh",
    ),
    Variant(
        "fish",
        setup=_shell("/usr/bin/fish"),
        home={".config/fish/config.fish": "echo Fish-noise\n"},
        proof="getent passwd alice | grep /usr/bin/fish",
    ),
    Variant(
        "conda",
        home=_CONDA,
        proof="grep -q conda/bin /proc/$(pgrep -u alice -o -f slurm_script)/environ",
    ),
    Variant(
        "conda-on-host",
        app="plain",
        home=_CONDA,
        proof="grep -q conda/bin /proc/$(pgrep -u alice -o -f slurm_script)/environ",
        config=_PLAIN,
    ),
)
