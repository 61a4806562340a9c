"""The table of faults: the rows, and their times as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.lab.faults.fault import Fault, Measured

FAULTS: tuple[Fault, ...] = (
    Fault(
        "slurmctld stopped",
        "`scontrol shutdown slurmctld`",
        "slurmctld does not answer; data from 12 s ago; retrying",
        ("slurmctld does not answer", "retrying"),
    ),
    Fault(
        "slurmctld slow",
        "SIGSTOP for 60 s",
        "slurmctld did not answer in time; data from 12 s ago; retrying",
        ("slurmctld did not answer in time", "retrying"),
    ),
    Fault(
        "munge dead",
        "munged of the login host is killed",
        "munge does not run on this host; data from 12 s ago; retrying",
        ("munge does not run on this host", "retrying"),
        short=True,
    ),
    Fault(
        "slurmctld restarted",
        "SIGKILL, then started again",
        "nothing, or one failed refresh",
    ),
    Fault(
        "slurmctld fails over",
        "SIGKILL of the first of two SlurmctldHost; SlurmctldTimeout is 10 s",
        "older data, or one failed refresh; then the backup answers",
    ),
    Fault(
        "slurmctld taken over",
        "`scontrol takeover`",
        "nothing, or one failed refresh",
    ),
    Fault(
        "clocks apart",
        "the node's clock is 5 min 30 s ahead, which munge refuses; SlurmdTimeout is 180 s",
        "the node is not responding; its sessions are ready and can be opened; "
        "doctor names the difference of the clocks",
        ("not responding", "● ready"),
    ),
    Fault(
        "slurmd killed",
        "SIGKILL; SlurmdTimeout is 90 s",
        "the node is not responding; its sessions are ready and can be opened",
        ("not responding", "● ready"),
    ),
    Fault(
        "node powered off",
        "its processes end at once, with a session on it; SlurmdTimeout is 30 s",
        "the node is down; the session failed and its log is kept; Repeat starts it again",
        ("✗ down", "✗ failed"),
    ),
    Fault(
        "job requeued",
        "`scontrol requeue`",
        "pending, then ready, with the same id",
        ("pending",),
    ),
    Fault(
        "job preempted",
        "a job of a partition with a higher PriorityTier; PreemptMode is CANCEL",
        "preempted by another job; its log is kept",
        ("preempted by another job",),
    ),
    Fault(
        "job suspended",
        "`scontrol suspend`, `scontrol resume`",
        "suspended; opening it is refused: its job is suspended",
        ("suspended",),
    ),
    Fault(
        "login host rebooted",
        "its processes end at once, under a tunnel of a laptop",
        "no connection to login; retrying; then the same tab shows the desktop again",
        ("no connection to login", "retrying"),
    ),
    Fault(
        "home full",
        "a file fills it, on all hosts",
        "a start is refused: No space left on device; sessions keep running",
        ("No space left on device",),
        short=True,
    ),
    Fault(
        "home read-only",
        "mounted read-only on the login host",
        "a start is refused: Read-only file system; sessions keep running",
        ("Read-only file system",),
    ),
    Fault(
        "home stale",
        "its file server stops answering, on the login host",
        "no answer in 20 s; keys work, and the sessions keep running",
        ("no answer in 20 s",),
    ),
    Fault(
        "/tmp of a node full",
        "files fill /tmp, /var/tmp and /dev/shm of the node",
        "the session failed at step runtime: No space left on device",
        ("failed at step runtime", "No space left on device"),
    ),
    Fault(
        "vizdash killed: start",
        "SIGKILL at each of its steps",
        "the session is listed if its job was submitted; the next start works",
    ),
    Fault(
        "vizdash killed: open",
        "SIGKILL at each of its steps",
        "the session stays ready; the next open works",
    ),
    Fault(
        "vizdash killed: stop",
        "SIGKILL at each of its steps",
        "the session is ready, ending or ended; the next stop ends it",
        short=True,
    ),
    Fault(
        "vizdash killed: build",
        "SIGKILL at each of its steps",
        "no image, or a complete one; the next build works",
    ),
    Fault(
        "vizdash killed: deploy",
        "SIGKILL at each of its steps",
        "the node has its old image or the complete new one; the next deploy completes it",
    ),
    Fault(
        "a hundred sessions",
        "100 starts, four at a time, on three nodes of the lab",
        "100 sessions, ready; each can be opened, and one call stops all",
    ),
    Fault(
        "two vizdash: one session",
        "three stop it and one extends it at the same moment",
        "it ends once; other sessions keep running",
    ),
    Fault(
        "two vizdash: one node",
        "two drain it and one resumes it at the same moment, three times",
        "the node is drained or not; the next resume works",
    ),
    Fault(
        "two vizdash: one image",
        "two versions are deployed by three at the same moment",
        "one after another, or refused with the name of who deploys; all nodes have one version",
    ),
    Fault(
        "eight hours of refreshes",
        "2,880 refreshes one after another, with recorded answers",
        "no growth of memory, descriptors, tasks and processes",
    ),
)
BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in FAULTS}
_HEAD = ("fault", "how it is made", "what you see", "seen after", "recovered after", "lost")


def render(measured: Iterable[Measured], *, only_measured: bool = False) -> str:
    """The table of faults in Markdown, with the times that were measured last."""
    times = {one.name: one for one in measured}
    lines = [_line(_HEAD), _line("---" for _ in _HEAD)]
    for fault in FAULTS:
        if only_measured and fault.name not in times:
            continue
        one = times.get(fault.name, Measured(fault.name))
        seconds = (_seconds(one.notice_s), _seconds(one.recover_s))
        lines.append(_line((fault.name, fault.made, fault.seen, *seconds, "none")))
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{max(1, round(value))} s"
