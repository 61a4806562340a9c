"""Why an action is disabled: each rule returns the reason, empty when the action is enabled."""

from __future__ import annotations

from vizdash.actions.registry import Context
from vizdash.model import Node, Session, SessionState


def may_open(context: Context) -> str:
    """Open: the session must be yours and ready."""
    session = context.session
    if session is None:
        return "no session is selected"
    if not session.mine:
        return f"only {session.user} can open it"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    return ""


def may_view(context: Context) -> str:
    """Open with: as Open, and the session must have a desktop."""
    session = context.session
    if session is not None and session.service:
        return "it is a service without a desktop"
    return may_open(context)


def may_log_in(context: Context) -> str:
    """SSH: the session must be yours and ready, and its job script vizdash's own."""
    session = context.session
    if session is None:
        return "no session is selected"
    if not session.mine:
        return f"only {session.user} can log in to it"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    return "sessions of a legacy job script take no logins" if session.legacy else ""


def may_share(context: Context) -> str:
    """Share: the session must be yours, ready, and a desktop of vizdash's own job script."""
    session = context.session
    if session is None:
        return "no session is selected"
    if not session.mine:
        return f"it belongs to {session.user}"
    if session.service:
        return "a service has no desktop"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    return "sessions of a legacy job script can't be shared" if session.legacy else ""


def may_stop(context: Context) -> str:
    """Stop: a session that has not ended, and is yours unless you are an administrator."""
    if context.marked:
        return "" if stoppable(context) else "none of the marked sessions can be stopped"
    session = context.session
    if session is None:
        return "no session is selected"
    if not session.mine and not context.admin:
        return f"it belongs to {session.user}"
    if session.state is SessionState.ENDED:
        return "it has already ended"
    return ""


def may_extend(context: Context) -> str:
    """Extend: a running session with a time limit, yours unless you are an administrator."""
    session = context.session
    if session is None:
        return "no session is selected"
    if session.state is SessionState.ENDED:
        return "it has already ended"
    if not session.resources.time_s:
        return "it has no time limit"
    if not session.node:
        return "its job has not started yet"
    return "" if session.mine or context.admin else f"it belongs to {session.user}"


def may_message(context: Context) -> str:
    """Message: a ready session whose job script shows messages."""
    session = context.session
    if session is None:
        return "no session is selected"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    if session.legacy:
        return "sessions of a legacy job script show no messages"
    if session.service:
        return "a service shows no messages"
    return "" if session.mine or context.admin else f"it belongs to {session.user}"


def may_drain(context: Context) -> str:
    """Drain: for Slurm administrators, on a node that is not drained."""
    if not context.node_admin:
        return "only Slurm administrators can do this"
    node = context.node
    return "it is already drained" if node is not None and "DRAIN" in node.flags else ""


def may_resume(context: Context) -> str:
    """Resume: for Slurm administrators, on a node that is drained or down."""
    if not context.node_admin:
        return "only Slurm administrators can do this"
    node = context.node
    return "" if node is not None and is_out_of_service(node) else "it is neither drained nor down"


def is_out_of_service(node: Node) -> bool:
    """Whether a node can be resumed: it is drained or down."""
    return "DRAIN" in node.flags or node.state == "DOWN"


def stoppable(context: Context) -> tuple[Session, ...]:
    """The sessions that Stop acts on: the marked ones, else the selected one."""
    chosen = context.marked or ((context.session,) if context.session else ())
    return tuple(s for s in chosen if s.live and (s.mine or context.admin))


def may_upgrade(context: Context) -> str:
    """Upgrade: your session, when a newer version of its image is current."""
    session = context.session
    if session is None:
        return "no session is selected"
    if not session.mine:
        return f"it belongs to {session.user}"
    return "" if session.newer_version else "there is no newer image"


def may_read(context: Context) -> str:
    """Log: your session; without a session, the last build of the selected image."""
    session = context.session
    if session is None:
        return "" if context.app else "no session is selected"
    return "" if session.mine else f"only {session.user} can read its log"


def may_enlarge(context: Context) -> str:
    """Preview: there must be one."""
    session = context.session
    if context.pictured or session is None:
        return "" if context.pictured else "no session is selected"
    if not session.mine:
        return f"only {session.user} can see its desktop"
    if session.service:
        return "a service has no desktop"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    return "there is no preview"


def may_change_images(context: Context) -> str:
    """Change images: the image folders must be writable."""
    return context.image_rights


def may_see_build_log(context: Context) -> str:
    """Build log: an app must be selected."""
    return "" if context.app else "no image is selected"


def may_roll_back(context: Context) -> str:
    """Roll back: the image folders must be writable and an image selected."""
    return context.image_rights or ("" if context.app else "no image is selected")


def may_repeat(context: Context) -> str:
    """Repeat: the size of the session must be known."""
    session = context.session
    if session is None:
        return "no session is selected"
    return "" if session.resources.cores else "its size is unknown"


def has_limit(context: Context) -> str:
    """Time limit: a running session of yours with a time limit."""
    return "" if timed(context) else "select a running session of yours that has a time limit"


def timed(context: Context) -> Session | None:
    """The session that Time limit acts on: the selected one; in another pane, the one that the
    header warns of.
    """
    session = context.session
    if session is None:
        return context.urgent
    if not (session.mine and session.live and session.node):
        return None
    return session if session.ends_in_s is not None else None


def in_list(context: Context) -> str:
    """Filter: there must be data."""
    return "" if context.snapshot else "there is no data yet"
