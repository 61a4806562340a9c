"""Slurm's formats of numbers, times, memory, GRES and reasons, also those not recorded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vizdash.engines.slurm import cluster_config, commands, describe_reason, parse, values
from vizdash.engines.slurm.commands import JOB_FIELDS, field_mark, record_mark
from vizdash.model import Gres


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0),
        ("0:59", 59),
        ("10:00", 600),
        ("2:00:00", 7200),
        ("1-00:00:00", 86400),
        ("2-03:05:00", 183900),
        ("1-12", 129600),
        ("120", 7200),
        ("INVALID", 0),
        ("UNLIMITED", None),
        ("NONE", None),
        ("N/A", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_seconds(text: str, seconds: int | None) -> None:
    assert values.seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "cores", "mebibytes"),
    [
        ("3584", 1, 3584),
        ("3584M", 1, 3584),
        ("2G", 1, 2048),
        ("1.50G", 1, 1536),
        ("512Mc", 4, 2048),
        ("4Gn", 4, 4096),
        ("1T", 1, 1048576),
        ("100K", 1, 1),
        ("0", 1, 0),
        ("N/A", 1, 0),
        ("", 1, 0),
        ("lots", 1, 0),
    ],
)
def test_mebibytes(text: str, cores: int, mebibytes: int) -> None:
    assert values.mebibytes(text, cores) == mebibytes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(null)", ()),
        ("N/A", ()),
        ("", ()),
        ("gpu", (("gpu", "", 1),)),
        ("gpu:0", (("gpu", "", 0),)),
        ("gpu:4", (("gpu", "", 4),)),
        ("gpu:a100:2(S:0-1)", (("gpu", "a100", 2),)),
        ("gpu:(null):4", (("gpu", "", 4),)),
        ("gpu:(null):0(IDX:N/A)", (("gpu", "", 0),)),
        ("gpu:a100:1(IDX:0),gpu:h100:2(IDX:1,3)", (("gpu", "a100", 1), ("gpu", "h100", 2))),
        ("gres:gpu:1", (("gpu", "", 1),)),
        ("gres/gpu:a100:2", (("gpu", "a100", 2),)),
        ("gres/gpu=2", (("gpu", "", 2),)),
        ("lustre:no_consume:4K", (("lustre", "", 4096),)),
    ],
)
def test_gres(text: str, found: tuple[tuple[str, str, int], ...]) -> None:
    assert values.gres(text) == found


def test_a_type_that_only_the_used_gres_have() -> None:
    used = "gpu:gb10:0(IDX:N/A),shard:gb10:40(0/80,40/80)"
    assert values.node_gres("gpu:gb10:2,shard:160", used) == (
        Gres("gpu", "gb10", 2, 0),
        Gres("shard", "", 160, 40),
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("None", ""),
        ("(null)", ""),
        ("", ""),
        ("(Resources)", "waiting for free cores, memory or GPUs"),
        ("RaisedSignal:9(Killed)", "it was ended by a signal (Killed)"),
        (
            "RaisedSignal:53(Real-time_signal_19)",
            "its node could not open the job's log: the folder is missing, full or read-only there",
        ),
        (
            "ReqNodeNotAvail, UnavailableNodes:viz-node[001-002]",
            "a node it needs is down, drained or reserved (viz-node[001-002])",
        ),
        (
            "ReqNodeNotAvail, May be reserved for other job",
            "a node it needs is down, drained or reserved",
        ),
        (
            "ReqNodeNotAvail, Reserved for maintenance",
            "the nodes it could use are reserved for maintenance",
        ),
        (
            "ReqNodeNotAvail,_Reserved_for_maintenance",
            "the nodes it could use are reserved for maintenance",
        ),
        (
            (
                "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority "
                "partitions"
            ),
            "every node it could use is down, drained or reserved",
        ),
        (
            "Job's account not permitted to use this partition (gated allows science not viz)",
            "the account may not use this partition",
        ),
        ("launch failed requeued held", "held: it could not be launched on its node"),
        ("QOSMaxGRESPerUser", "more than the QOS allows a user: GPUs (or other GRES)"),
        ("QOSGrpMemLimit", "all jobs of the QOS together have reached its limit: memory"),
        ("QOSMinGRES", "it asks for less than the QOS demands: GPUs (or other GRES)"),
        ("QOSMaxWallDurationPerJobLimit", "more than the QOS allows a job: time"),
        ("AssocGrpCpuLimit", "all jobs of the account together have reached its limit: CPUs"),
        (
            "AssocGrpCPURunMinutesLimit",
            "all jobs of the account together have reached its limit: CPUs x minutes",
        ),
        ("MaxMemPerLimit", "it asks for more memory than the partition allows"),
        ("SomeNewReason", "some new reason"),
        ("Some_New_GRES", "some new GRES"),
    ],
)
def test_reasons(code: str, words: str) -> None:
    assert describe_reason(code) == words


#: What a job's name or comment may hold: anything but NUL, broken UTF-8 included.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=60)


@settings(max_examples=200)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_no_text_can_leave_its_field(texts: list[tuple[str, str]]) -> None:
    nonce = commands.new_nonce()
    answer = ""
    for number, (name, comment) in enumerate(texts):
        fields = dict.fromkeys(JOB_FIELDS, "") | {"i": str(number), "j": name, "k": comment}
        answer += field_mark(nonce).join(fields[key] for key in JOB_FIELDS)
        answer += record_mark(nonce) + "\n"
    found = parse.jobs(answer, nonce)
    assert [(job.id, job.name) for job in found] == [
        (str(number), name) for number, (name, _) in enumerate(texts)
    ]
    assert [job.comment for job in found] == [
        "" if comment == "(null)" else comment for _, comment in texts
    ]


@settings(max_examples=200)
@given(TEXTS)
def test_no_answer_breaks_the_parsers(answer: str) -> None:
    parse.nodes(answer)
    parse.nodes(f"NodeName=n1 {answer}")
    parse.partitions(f"PartitionName=p {answer}")
    cluster_config.config(answer)
    values.gres(answer)
    values.seconds(answer)
    values.mebibytes(answer)
    describe_reason(answer)


@settings(max_examples=200)
@given(st.text("StateDOWN RealMemory=12\nNodeName ", max_size=60))
def test_a_reason_changes_no_other_field(reason: str) -> None:
    line = "NodeName=n1 CPUTot=4 CPUEfctv=4 RealMemory=3584 State=IDLE+DRAIN MemSpecLimit=100 "
    line += "Partitions=viz "
    plain, shown = parse.nodes(line)[0], parse.nodes(f"{line}Reason={reason}")[0]
    assert (shown.name, shown.state, shown.flags) == (plain.name, plain.state, plain.flags)
    assert (shown.cores, shown.memory_mib) == (plain.cores, plain.memory_mib)
