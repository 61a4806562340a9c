"""Checks of the engine: login, controller, partition, node, and what the scheduler would say."""

from __future__ import annotations

import time

from vizdash.doctor.case import Case
from vizdash.errors import Unknown, VizdashError
from vizdash.model.image import version_of
from vizdash.transport.base import Command


async def login(case: Case) -> str:
    """The connection to the login host, by which ssh, and why by that one."""
    remote = case.service.remote
    assert remote is not None
    try:
        result = await case.service.images.shell.runner.run(Command(("true",), timeout_s=60))
    except VizdashError as e:
        why = " ".join(filter(None, (e.why, remote.link.via and f"({remote.link.via})")))
        raise VizdashError(e.what, why, e.mend) from e
    result.check(remote.link.host)
    return f"{remote.link.host} {remote.link.via}".strip()


async def engine(case: Case) -> str:
    """Whether the controller answers, and as whom it knows the person."""
    info = await case.service.info()
    case.nodes = await case.service.engine.nodes()
    role = ", an administrator" if info.node_admin else ", an operator" if info.admin else ""
    return (
        f"{info.name} {info.version} on {info.cluster}, {len(case.nodes)} nodes, "
        f"you are {info.user}{role}"
    )


async def partition(case: Case) -> str:
    """The partition that sessions go to."""
    wanted = case.request.partition or case.service.config.cluster.partition
    known = await case.service.engine.partitions()
    names = [p.name for p in known]
    case.partition = await case.service.partition(case.request)
    if case.partition is None and wanted:
        fix = f"set clusters.{case.service.config.cluster.name}.partition to one of: "
        raise VizdashError(f"there is no partition {wanted}", "", fix + ", ".join(names))
    if case.partition is None:
        if not case.nodes:
            return "this cluster keeps its partitions private"
        raise VizdashError("the cluster has no default partition", "", "set `partition`")
    if case.partition.state != "UP":
        state = case.partition.state.lower()
        raise VizdashError(f"partition {case.partition.name} is {state}", "", "ask its operators")
    return case.partition.name


async def node(case: Case) -> str:
    """The node that the rest is tried on: the one asked for, or one where a session fits."""
    if not case.nodes:
        return "this cluster keeps its nodes private: the scheduler chooses one"
    members = [n for n in case.nodes if case.partition is None or case.partition.has(n)]
    if not case.node:
        usable = [n.name for n in members if n.usable]
        if not usable:
            states = ", ".join(f"{n.name} is {n.state_words}" for n in members[:4])
            raise VizdashError("no node takes jobs", states or "the partition has none", _RESUME)
        verdict = await case.service.fit(case.request)
        case.node = next((name for name, _ in verdict.now if name in usable), usable[0])
    found = next((n for n in members if n.name == case.node), None)
    if found is None:
        has = ", ".join(n.name for n in members[:8]) or "no nodes"
        case.unknown = Unknown(f"node {case.node}", "not in the partition", f"it has {has}")
        raise case.unknown
    if not (found.usable or found.usable_reserved):
        why = found.notice(time.time())
        raise VizdashError(f"{found.name} is {found.state_words}", why, _RESUME)
    notice = found.notice(time.time())
    return f"{found.name}: {found.state_words}{f' ({notice})' if notice else ''}"


_RESUME = "name another --node, or ask an operator to resume it (vizdash resume NODE)"


async def image(case: Case) -> str:
    """The app's image, as the look at the nodes' image roots has it."""
    runtime, path = case.service.image_of(case.request)
    if not path:
        return f"app {case.app.name} needs none: it runs on the {runtime}"
    nodes = [n for n in case.nodes if n.name == case.node]
    matrix = await case.service.images.matrix(nodes)
    on = case.node or "this machine"
    if case.node in matrix.without(path):
        fix = f"vizdash deploy {case.app.name} --node {case.node}"
        raise VizdashError(f"{on} has no image {path}", "", fix)
    found = next((i for i in matrix.images if i.node == case.node and i.path == path), None)
    if found is None:
        place = matrix.place(case.node)
        return f"{path}: not looked at{f' ({place.failure})' if place and place.failure else ''}"
    if found.problem:
        fix = f"vizdash deploy {case.app.name} --node {case.node}"
        raise VizdashError(f"image {path} on {on}", found.problem, fix)
    size = f"{found.size_bytes / 2**20:.0f} MiB"
    version = version_of(matrix.images, path) or "unknown"
    return f"{path} on {on}: version {version}, {size}"


async def submission(case: Case) -> str:
    """What ``start`` would be told: our own count first, then the scheduler's (sbatch --test-only),
    which knows the limits of accounts, associations and QOS.
    """
    verdict = await case.service.fit(case.request)
    at = await case.service.expected_start(case.request)
    return verdict.with_start(at, time.time())


async def node_ssh(case: Case) -> str:
    """Whether ssh gets to the node: desktops and images are reached by it. A node that takes no
    user's key is no fault where srun may be used instead; a host key that nobody knows is.
    """
    shell, name = case.service.images.shell, case.node
    if not name:
        return "not tried: the nodes are private"
    if shell.hosts:
        await shell.hosts.find(name)
    result = await shell.runner.run(Command(shell.argv(name, ("true",)), timeout_s=60))
    if result.code == 0:
        return f"{name} lets you in"
    error = shell.failure(name, 255, result.stderr)
    if "ermission denied" not in result.stderr and "Access denied" not in result.stderr:
        raise error
    if case.service.config.cluster.tunnel == "ssh":
        raise VizdashError(f"{name} takes no ssh of yours", error.why, "set `tunnel: auto`")
    if not case.service.has("srun"):
        fix = "put srun on your PATH, or ask to be let in by ssh"
        raise VizdashError(f"{name} takes no ssh of yours", "and there is no srun", fix)
    return f"{name} takes no ssh of yours: desktops are reached by srun"
