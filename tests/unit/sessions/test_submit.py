"""From a request to a job: sbatch's arguments and the job script."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from vizdash.config import App, Cluster
from vizdash.errors import NotFound, Refused, UsageError
from vizdash.model import JobRequest, Resources, SessionRequest
from vizdash.sessions.comment import decode
from vizdash.sessions.start_plan import new_id, resolve_plan
from vizdash.sessions.submit import build_job_request, image_path

CLUSTER = Cluster(
    "viz",
    partition="viz",
    account="physics",
    qos="normal",
    binds=("/scratch",),
    environment={"LICENCE": "1@host", "SHARED": "site"},
    modules=("base",),
)
APP = App(
    "paraview",
    command="paraview --data='/a b'",
    host_command="openbox & exec paraview",
    binds=("/data:/data:ro",),
    environment={"SHARED": "app", "WORDS": "a,b; $(id) 'c'"},
    modules=("gl",),
    geometry="1920x1080",
)
REQUEST = SessionRequest("paraview", Resources(4, 8192, 1, 7200))


def made(
    request: SessionRequest = REQUEST, app: App = APP, runtime: str = "apptainer", **cluster: object
) -> JobRequest:
    where = replace(CLUSTER, **cluster)  # type: ignore[arg-type]
    plan = resolve_plan(
        request,
        app,
        where,
        runtime=runtime,
        image="/images/pv.sif",
        version="5.13",
        excluded_nodes=("n9",),
    )
    plan = replace(plan, session_id="3f9a01bc")
    return build_job_request(plan, where, engine="slurm", folder="/home/alice/s")


def variables(job: JobRequest) -> dict[str, list[str]]:
    """The script's own block of values, as a real bash reads it."""
    lines = job.script.split("\n")
    at = lines.index("# Values of this session, set by vizdash.")
    names, block = [], []
    for line in lines[at + 1 :]:
        name, equals, _ = line.partition("=")
        if not equals or not (name == "SESSION_ID" or name.startswith(("VIZDASH_", "VNC_"))):
            break
        names.append(name)
        block.append(line)
    show = "".join(f"printf '%s\\0' {n} \"${{{n}[@]}}\"; printf '\\n\\0'\n" for n in names)
    done = subprocess.run(
        ["bash", "-u"], input="\n".join([*block, show]), capture_output=True, text=True, check=True
    )
    found = {}
    for record in done.stdout.removesuffix("\n\0").split("\n\0"):
        name, *values = record.removesuffix("\0").split("\0")
        found[name] = values
    return found


def test_what_sbatch_receives() -> None:
    job = made()
    assert (job.name, job.app, job.session_id) == ("vizdash-paraview", "paraview", "3f9a01bc")
    assert (job.partition, job.account, job.qos) == ("viz", "physics", "normal")
    assert job.output == "/home/alice/s/job.log"
    assert job.resources == Resources(4, 8192, 1, 7200)
    assert job.exclude == ("n9",)
    claim = decode(job.comment)
    assert claim is not None
    assert (claim.id, claim.app, claim.image, claim.state) == (
        "3f9a01bc",
        "paraview",
        "5.13",
        "pending",
    )


def test_the_users_choice_wins_over_the_clusters() -> None:
    job = made(replace(REQUEST, account="art", qos="high", partition="gpu", node="n1"))
    assert (job.account, job.qos, job.partition, job.node) == ("art", "high", "gpu", "n1")


def test_the_script_holds_the_values_as_they_are() -> None:
    found = variables(made())
    assert found["SESSION_ID"] == ["3f9a01bc"]
    assert found["VIZDASH_COMMAND"] == ["paraview --data='/a b'"]
    assert found["VIZDASH_GEOMETRY"] == ["1920x1080"]
    assert found["VIZDASH_IMAGE"] == ["/images/pv.sif"]
    # Site first, then the app, whose words win.
    assert found["VIZDASH_BINDS"] == ["/scratch", "/data:/data:ro"]
    assert found["VIZDASH_MODULES"] == ["base", "gl"]
    assert found["VIZDASH_ENV"] == ["LICENCE=1@host", "SHARED=app", "WORDS=a,b; $(id) 'c'"]
    assert found["VIZDASH_ENGINE"] == ["slurm"]
    assert (found["VIZDASH_PORT_MIN"], found["VIZDASH_PORT_MAX"]) == (["6080"], ["6099"])


def test_only_a_service_has_values_of_services() -> None:
    assert not {"VIZDASH_KIND", "VIZDASH_LISTEN", "VIZDASH_PATH"} & variables(made()).keys()
    assert "kind=" not in made().comment
    job = made(app=replace(APP, kind="web", path="/lab?reset"))
    found = variables(job)
    assert (found["VIZDASH_KIND"], found["VIZDASH_PATH"]) == (["web"], ["/lab?reset"])
    assert found["VIZDASH_LISTEN"] == ["socket"]
    claim = decode(job.comment)
    assert claim is not None
    assert claim.kind == "web"
    # pvserver lets in whoever reaches it.
    pvserver = variables(made(app=replace(APP, kind="pvserver")))
    assert pvserver["VIZDASH_LISTEN"] == ["port"]


def test_the_whole_script_is_bash() -> None:
    for runtime in ("apptainer", "host"):
        script = made(runtime=runtime).script
        assert script.startswith("#!/bin/bash -p\n")
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert "\nsource common.sh" not in script


def test_the_host_runtime_runs_the_host_command_or_says_that_there_is_none() -> None:
    found = variables(made(runtime="host"))
    assert found["VIZDASH_COMMAND"] == ["openbox & exec paraview"]
    with pytest.raises(UsageError, match="no host_command"):
        made(app=replace(APP, host_command=""), runtime="host")


def test_bad_values_are_refused() -> None:
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        made(replace(REQUEST, geometry="1x1; id"))
    with pytest.raises(Refused, match="VIZDASH_COMMAND holds a control character"):
        made(app=replace(APP, command="a\x1bb"))
    with pytest.raises(NotFound, match="job script 'nosuch"):
        made(app=replace(APP, script="nosuch.sh"))
    with pytest.raises(NotFound, match="plain file name"):
        made(app=replace(APP, script="../vnc.sh"))


def test_the_sites_script_replaces_vizdashs(tmp_path: Path) -> None:
    (tmp_path / "vnc.sh").write_text("#!/bin/bash\n#SBATCH --exclusive\necho site\n")
    job = made(job_scripts=str(tmp_path))
    assert job.script.startswith("#!/bin/bash\n#SBATCH --exclusive\n")
    assert job.script.endswith("echo site\n")
    assert "VIZDASH_IMAGE=/images/pv.sif" in job.script


def value_in_legacy_script(job: JobRequest, name: str) -> str:
    """One of its values, as a real bash reads it."""
    block = job.script.split("\nset -u")[0]
    words = ["bash", "-uc", f'{block}\nprintf %s "${name}"']
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_a_legacy_script_goes_whole_into_the_wrapper(tmp_path: Path) -> None:
    legacy = "#!/bin/bash\n#SBATCH --job-name=gedit_vnc\n\n # cores\n#SBATCH -c 2\n"
    # sbatch reads no further than the first command.
    legacy += "VNC_PORT=${VNC_PORT:-6080}\ncat >later.sh <<END\n#SBATCH --array=1-9\nEND\n"
    (tmp_path / "old.sh").write_text(legacy)
    app = App("old", kind="legacy", script="old.sh", vnc_password="password")
    job = made(replace(REQUEST, app="old"), app, "host", job_scripts=str(tmp_path))
    head = job.script.split("\n")[:4]
    lines = ["#SBATCH --job-name=gedit_vnc", "#SBATCH -c 2"]
    assert head[:3] == ["#!/bin/bash -p", *lines]
    assert not head[3].startswith("#SBATCH")
    assert value_in_legacy_script(job, "VIZDASH_SCRIPT") == legacy
    claim = decode(job.comment)
    assert claim is not None
    assert claim.step == "legacy"


@pytest.mark.parametrize(
    ("line", "extra", "folder"),
    [
        ("", (), ""),
        ("#SBATCH --chdir=/opt/apps", (), "/opt/apps"),
        ("#SBATCH -H -D '/opt/my apps'", (), "/opt/my apps"),
        ("#SBATCH --chdir=/opt/apps", ("--chd", "other"), "other"),
        ("true\n#SBATCH --chdir=/opt/apps", (), ""),
    ],
)
def test_a_legacy_script_runs_in_its_own_folder(
    tmp_path: Path, line: str, extra: tuple[str, ...], folder: str
) -> None:
    (tmp_path / "old.sh").write_text(f"#!/bin/bash\n{line}\n")
    app = App("old", kind="legacy", script="old.sh")
    request = replace(REQUEST, app="old", extra=extra)
    job = made(request, app, "host", job_scripts=str(tmp_path))
    assert value_in_legacy_script(job, "VIZDASH_CHDIR") == folder


@pytest.mark.parametrize(
    ("image", "version", "path"),
    [
        ("", "", "/opt/apptainers/apps/paraview/paraview.sif"),
        ("", "5.13", "/opt/apptainers/apps/paraview/paraview-5.13.sif"),
        ("/mine.sif", "", "/mine.sif"),
        ("/mine.sif", "/other.sif", "/other.sif"),
    ],
)
def test_image_paths(image: str, version: str, path: str) -> None:
    assert image_path(replace(APP, image=image), CLUSTER, version) == path


def test_a_version_cannot_lead_out_of_the_image_root() -> None:
    with pytest.raises(UsageError):
        image_path(APP, CLUSTER, "../../etc/x")


def test_ids_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) > 990
    assert all(len(i) == 8 for i in ids)
