"""Checks of the cluster: login, controller, partition, node, SSH, image, submission, a session."""

from __future__ import annotations

import time
from dataclasses import replace

from vizdash.errors import UnknownName, VizdashError
from vizdash.model.image import find_version
from vizdash.service.doctor import clocks
from vizdash.service.doctor.checks import Case
from vizdash.service.wait_ready import wait_ended, wait_ready
from vizdash.transport.base import Command
from vizdash.util.text import plural
from vizdash.util.units import format_size

#: Seconds that the job may be pending, in addition to the desktop's `ready_timeout`.
_QUEUE_S = 120


async def check_login(case: Case) -> str:
    """The connection to the login host, by which SSH implementation, and why."""
    remote = case.service.remote
    assert remote is not None
    try:
        result = await case.service.images.shell.runner.run(Command(("true",), timeout_s=60))
    except VizdashError as e:
        why = " ".join(filter(None, (e.why, remote.status.via and f"({remote.status.via})")))
        raise VizdashError(e.what, why, e.fix) from e
    result.check(remote.status.host)
    return f"{remote.status.host} {remote.status.via}".strip()


async def check_engine(case: Case) -> str:
    """Whether the controller answers, and the user's role there."""
    info = await case.service.info()
    case.nodes = await case.service.engine.nodes()
    role = ", an administrator" if info.node_admin else ", an operator" if info.admin else ""
    return (
        f"{info.name} {info.version} on {info.cluster}, {plural(len(case.nodes), 'node')}, "
        f"you are {info.user}{role}"
    )


async def check_partition(case: Case) -> str:
    """The partition of the session."""
    wanted = case.request.partition or case.service.config.cluster.partition
    if "partitions" in (await case.service.info()).private:
        return f"{wanted or 'the default one'}: partitions are hidden from you on this cluster"
    known = await case.service.engine.partitions()
    names = [p.name for p in known]
    case.partition = await case.service.queries.partition(
        case.service.config.cluster, case.request.partition
    )
    if case.partition is None and wanted:
        fix = f"set clusters.{case.service.config.cluster.name}.partition to one of: "
        raise VizdashError(f"there is no partition {wanted}", "", fix + ", ".join(names))
    if case.partition is None:
        raise VizdashError("the cluster has no default partition", "", "set `partition`")
    if case.partition.state != "UP":
        state = case.partition.state.lower()
        raise VizdashError(f"partition {case.partition.name} is {state}", "", "ask its operators")
    return case.partition.name


async def check_node(case: Case) -> str:
    """The node for the remaining checks: the one given, or one where the session fits."""
    if not case.nodes:
        return "nodes are hidden from you on this cluster: the scheduler selects one"
    members = [n for n in case.nodes if case.partition is None or case.partition.has(n)]
    if not case.node:
        usable = [n.name for n in members if n.usable]
        if not usable:
            states = ", ".join(f"{n.name} is {n.state_text}" for n in members[:4])
            raise VizdashError("no node accepts jobs", states or "the partition has none", _RESUME)
        verdict = (await case.service.plan(case.request)).verdict
        case.node = next((name for name, _ in verdict.fits_now if name in usable), usable[0])
    node = next((n for n in members if n.name == case.node), None)
    if node is None:
        has = ", ".join(n.name for n in members[:8]) or "no nodes"
        case.unknown = UnknownName(f"node {case.node}", "not in the partition", f"it has {has}")
        raise case.unknown
    if not (node.usable or node.usable_reserved):
        what = f"{node.name} is {node.state_text}"
        if node.state_text in {"down", "not responding"} and (
            error := await clocks.clock_error_by_ssh(case, node.name)
        ):
            raise VizdashError(what, VizdashError(error.what, error.why).line, error.fix)
        raise VizdashError(what, node.notice(time.time()), _RESUME)
    notice = node.notice(time.time())
    return f"{node.name}: {node.state_text}{f' ({notice})' if notice else ''}"


_RESUME = "give another --node, or ask an operator to resume it (vizdash resume NODE)"


async def check_image(case: Case) -> str:
    """The app's image on the node, from the survey of the image roots."""
    runtime, path = case.service.apps.runtime_and_image(case.request)
    if not path:
        return f"not needed: app {case.app.name} runs on the {runtime}"
    nodes = [n for n in case.nodes if n.name == case.node]
    matrix = await case.service.images.cached_matrix(nodes)
    on = case.node or "this machine"
    if case.node in matrix.without(path):
        fix = f"vizdash deploy {case.app.name} --node {case.node}"
        raise VizdashError(f"{on} has no image {path}", "", fix)
    image = next((i for i in matrix.images if i.node == case.node and i.path == path), None)
    if image is None:
        root = matrix.root_of(case.node)
        return f"{path}: not checked{f' ({root.failure})' if root and root.failure else ''}"
    if image.problem:
        fix = f"vizdash deploy {case.app.name} --node {case.node}"
        raise VizdashError(f"image {path} on {on}", image.problem, fix)
    size = format_size(image.size_bytes)
    version = find_version(matrix.images, path) or "unknown"
    return f"{path} on {on}: version {version}, {size}"


async def check_submission(case: Case) -> str:
    """Whether a job could start: by our own count, then by ``sbatch --test-only``, which also knows
    the limits of accounts, associations and QOS.
    """
    plan = await case.service.plan(case.request)
    at = await case.service.expected_start(plan)
    return plan.verdict.text_with_start(at, time.time())


async def check_node_ssh(case: Case) -> str:
    """Whether the user's SSH reaches the node. A node that accepts no user keys is fine if srun can
    be used instead; an unknown host key is not.
    """
    shell, name = case.service.images.shell, case.node
    if not name:
        return "not tried: the nodes are hidden"
    if shell.hosts:
        await shell.hosts.find(name)
    result = await shell.runner.run(Command(shell.argv(name, ("true",)), timeout_s=60))
    if result.code == 0:
        return f"{name} accepts your SSH"
    error = shell.failure(name, 255, result.stderr)
    if "ermission denied" not in result.stderr and "Access denied" not in result.stderr:
        raise error
    if case.service.config.cluster.tunnel == "ssh":
        raise VizdashError(f"{name} refuses your SSH", error.why, "set `tunnel: auto`")
    if not case.service.has("srun"):
        fix = "put srun on your PATH, or ask for SSH access to the nodes"
        raise VizdashError(f"{name} refuses your SSH", "and there is no srun", fix)
    return f"{name} refuses your SSH: srun is used instead"


async def check_session(case: Case) -> str:
    """Start, open and stop a session. Raises VizdashError naming the failed step; leaves no job."""
    service = case.service
    began = time.monotonic()
    request = (
        replace(case.request, node=case.node) if service.engine.name == "slurm" else case.request
    )
    started = await service.start(request, remember=False)
    try:
        timeout_s = service.config.cluster.ready_timeout_s + _QUEUE_S
        ready = await wait_ready(service, started, lambda words: None, timeout_s=timeout_s)
        ready_s = time.monotonic() - began
        route = await service.desktops.open_route(ready)
        await route.close()
    finally:
        await service.stop(started)
        await wait_ended(service, (started,))
    return f"ready on {ready.node} after {ready_s:.1f} s, reached by {route.kind}, stopped"
