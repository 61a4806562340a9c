"""Frozen types of the model: node states, GRES, capacity, and differences of snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.model import Capacity, Gres, JobState, Node, Resources, Session, SessionState, Snapshot
from vizdash.model.node import gpu_count

NODE = Node("n1", "IDLE", cores=8, memory_mib=16384, partitions=("viz",))


@pytest.mark.parametrize(
    ("state", "flags", "cores_alloc", "words", "usable"),
    [
        ("IDLE", (), 0, "idle", True),
        ("MIXED", ("PLANNED",), 2, "mixed", True),
        ("ALLOCATED", (), 8, "allocated", True),
        ("IDLE", ("POWERED_DOWN",), 0, "powered down", True),  # Slurm wakes it for a job
        ("IDLE", ("DRAIN",), 0, "drained", False),
        ("MIXED", ("DRAIN",), 2, "draining", False),
        ("DOWN", ("DRAIN",), 0, "down", False),
        ("IDLE", ("NOT_RESPONDING",), 0, "not responding", False),
        ("IDLE", ("MAINTENANCE",), 0, "maintenance", False),
        ("IDLE", ("RESERVED",), 0, "reserved", False),
        # scontrol(1): without ASAP, a reboot that is requested keeps no jobs away.
        ("MIXED", ("REBOOT_REQUESTED",), 2, "reboot requested", True),
        ("MIXED", ("REBOOT_REQUESTED", "DRAIN"), 2, "draining", False),
        ("UNKNOWN", (), 0, "unknown", False),
        ("FUTURE", (), 0, "future", False),
    ],
)
def test_states(
    state: str, flags: tuple[str, ...], cores_alloc: int, words: str, *, usable: bool
) -> None:
    node = replace(NODE, state=state, flags=flags, cores_alloc=cores_alloc)
    assert (node.state_text, node.usable) == (words, usable)


def test_free_is_never_negative() -> None:
    node = replace(NODE, cores_alloc=9, memory_alloc_mib=20000, gres=(Gres("gpu", "a100", 2, 3),))
    assert (node.cores_free, node.memory_free_mib, node.gpus, node.gpus_free) == (0, 0, 2, 0)


def test_gpus_of_every_type_are_gpus_and_other_gres_is_not() -> None:
    gres = (Gres("gpu", "a100", 2, 1), Gres("gpu", "", 1), Gres("lustre", "", 9))
    node = replace(NODE, gres=gres)
    assert (node.gpus, node.gpus_free) == (3, 2)


def test_capacity_counts_usable_nodes_only() -> None:
    nodes = (
        replace(NODE, cores_alloc=3, gres=(Gres("gpu", "", 2, 1),)),
        replace(NODE, name="n2", state="DOWN"),
    )
    assert Capacity.of(nodes) == Capacity(8, 3, 16384, 0, 2, 1)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gpu:1", 1),
        ("gpu", 1),
        ("gpu:a100:2", 2),
        ("gpu:a100", 1),
        ("gres/gpu=3", 3),
        ("gres/gpu:a100=2", 2),
        ("gres:gpu:2", 2),
        ("gpu:a100:2(IDX:0-1)", 2),
        ("gpu:(null):4", 4),
        ("gpu:2,gpu:a100:1,lustre:4", 3),
        ("", 0),
        ("N/A", 0),
        ("(null)", 0),
        ("gpu_mem:4096", 0),
        ("gpufs:1,mygpu:2", 0),
    ],
)
def test_gpus_of_a_job(text: str, count: int) -> None:
    assert gpu_count(text) == count


@given(st.text())
def test_any_gres_text_is_a_count(text: str) -> None:
    assert gpu_count(text) >= 0


def test_a_snapshot_differs_by_what_it_saw_and_not_by_when() -> None:
    one = Snapshot("viz", "slurm", "viz", "alice", nodes=(NODE,), taken_at=1.0)
    assert one == replace(one, taken_at=2.0)
    assert one != replace(one, nodes=())


def test_job_states_wait_run_or_have_ended() -> None:
    assert {s for s in JobState if s.waiting} == {JobState.PENDING, JobState.CONFIGURING}
    running = {"RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "UNKNOWN"}
    assert {s.value for s in JobState if not s.ended and not s.waiting} == running


def test_a_superscript_is_no_count() -> None:
    """str.isdigit says yes to it, and int() no."""
    assert gpu_count("gpu:²") == 1


@pytest.mark.parametrize(
    ("renderer", "name", "software"),
    [
        ("", "", False),
        ("NVIDIA A40/PCIe/SSE2", "NVIDIA", False),
        ("Quadro RTX 6000/PCIe/SSE2", "NVIDIA", False),
        ("Tesla T4/PCIe/SSE2", "NVIDIA", False),
        ("AMD Radeon Pro W6800 (radeonsi, navi21, LLVM 17.0.6, DRM 3.54)", "AMD", False),
        ("Mesa Intel(R) UHD Graphics 770 (ADL-S GT1)", "Intel", False),
        ("llvmpipe (LLVM 19.1.7, 256 bits)", "llvmpipe", True),
        ("softpipe", "softpipe", True),
        ("Software Rasterizer", "software", True),
        ("none: its X server has no GLX", "none", True),
        ("Adreno 740", "Adreno", False),
    ],
)
def test_what_draws_in_a_word(renderer: str, name: str, *, software: bool) -> None:
    session = Session("3f9a01bc", "7", "desktop", "alice", SessionState.READY, renderer=renderer)
    assert (session.renderer_name, session.software_reason) == (name, "")
    with_gpu = replace(session, resources=Resources(gpus=1))
    assert with_gpu.software_reason == (f"OpenGL in software: {renderer}" if software else "")
    why = "OpenGL in software, without VirtualGL: no GPU device"
    assert replace(with_gpu, warning=why).software_reason == why
