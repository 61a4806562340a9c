"""Why an action can't be done now: each rule gives the reason in words, empty when it can."""

from __future__ import annotations

from vizdash.actions.registry import Context
from vizdash.model import Session, SessionState


def may_open(context: Context) -> str:
    """Its owner may, once it is ready."""
    session = context.session
    if session is None:
        return "no session is chosen"
    if not session.mine:
        return f"only {session.user} can open it"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    return ""


def may_stop(context: Context) -> str:
    """Its owner or an admin may, while it lives; of marked ones, as many as that."""
    if context.marked:
        return "" if stoppable(context) else "none of the marked ones can be stopped"
    session = context.session
    if session is None:
        return "no session is chosen"
    if not session.mine and not context.admin:
        return f"it belongs to {session.user}"
    if session.state is SessionState.ENDED:
        return "it has ended"
    return ""


def may_extend(context: Context) -> str:
    """Its owner or an admin may ask, while it has a time limit that runs."""
    session = context.session
    if session is None:
        return "no session is chosen"
    if session.state is SessionState.ENDED:
        return "it has ended"
    if not session.resources.time_s:
        return "it has no time limit"
    if not session.node:
        return "its time is not running yet"
    return "" if session.mine or context.admin else f"it belongs to {session.user}"


def may_message(context: Context) -> str:
    """Its owner or an admin may write on a ready desktop that shows messages."""
    session = context.session
    if session is None:
        return "no session is chosen"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    if session.legacy:
        return "a job script of the older kind shows no messages"
    return "" if session.mine or context.admin else f"it belongs to {session.user}"


def may_drain(context: Context) -> str:
    """Slurm's administrators may, once."""
    if not context.node_admin:
        return "only Slurm's administrators may"
    node = context.node
    return "it is drained already" if node is not None and "DRAIN" in node.flags else ""


def may_resume(context: Context) -> str:
    """Slurm's administrators may, where jobs are kept off."""
    if not context.node_admin:
        return "only Slurm's administrators may"
    node = context.node
    away = node is not None and ("DRAIN" in node.flags or node.state == "DOWN")
    return "" if away else "it is neither drained nor down"


def stoppable(context: Context) -> tuple[Session, ...]:
    """The sessions that a stop would end: the marked ones, or the chosen one."""
    chosen = context.marked or ((context.session,) if context.session else ())
    return tuple(s for s in chosen if s.live and (s.mine or context.admin))


def may_renew(context: Context) -> str:
    """Its owner may, when a newer image of it is out."""
    session = context.session
    if session is None:
        return "no session is chosen"
    if not session.mine:
        return f"it belongs to {session.user}"
    return "" if session.newer_version else "no newer image of it is out"


def may_read(context: Context) -> str:
    """Only its owner may read a session's log; that of one's own builds is found by the image."""
    session = context.session
    if session is None:
        return "" if context.app else "no session is chosen"
    return "" if session.mine else f"only {session.user} can read its log"


def may_enlarge(context: Context) -> str:
    """There must be a picture of its desktop."""
    session = context.session
    if context.pictured or session is None:
        return "" if context.pictured else "no session is chosen"
    if not session.mine:
        return f"only {session.user} can see its desktop"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    return "there is no picture of it"


def may_change_images(context: Context) -> str:
    """Whoever the image folders let write."""
    return context.image_rights


def may_see_build_log(context: Context) -> str:
    """Of an app that is chosen."""
    return "" if context.app else "no image is chosen"


def may_roll_back(context: Context) -> str:
    """Whoever may change images, with one chosen."""
    return context.image_rights or ("" if context.app else "no image is chosen")


def may_repeat(context: Context) -> str:
    """A session whose size is known can be asked for again."""
    session = context.session
    if session is None:
        return "no session is chosen"
    return "" if session.resources.cores else "its size is not known"


def has_limit(context: Context) -> str:
    """A session of one's own must be there whose time runs."""
    return "" if timed(context) else "no session of yours is chosen whose time is running"


def timed(context: Context) -> Session | None:
    """The session whose time limit is meant: the chosen one; where none is (in another pane), the
    one that the header warns of.
    """
    session = context.session
    if session is None:
        return context.urgent
    if not (session.mine and session.live and session.node):
        return None
    return session if session.time_left_s is not None else None


def in_list(context: Context) -> str:
    """There must be a list to look through."""
    return "" if context.snapshot else "nothing is shown yet"
