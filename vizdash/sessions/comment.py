"""A session's public record: the job's comment (sbatch(1), --comment).

It is world-readable, and any user may write one into their own job. So it holds no secret and
counts as a claim: it is shown, but never used as a path or a command. Format, version 1::

    vizdash/1 id=3f9a01bc app=desktop image=1.0 state=ready step=ready viewers=0 since=1767225600

``lease`` is the length in seconds of the session's lease, if it has one: see assets/jobs/lease.sh.
``viewers`` is the number of browsers that show the desktop, ``since`` (seconds since the epoch)
when the first connected or the last disconnected, ``digest`` is the SHA-256 recorded for the image
that the job runs from; a job that does not know them leaves them out. ``kind`` is that of a service
(``web`` or ``pvserver``); a desktop has none. ``note`` is a message of an
operator (or the owner) to the user of the desktop, percent-encoded (RFC 3986) UTF-8: the job shows
and removes it, or keeps it when it ends. ``error``, encoded likewise, is the last error line of a
job that could not write it into its folder. Other values are made of ``[A-Za-z0-9._:+@/-]``; an
empty one is written ``-``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

SCHEMA = 1
#: The beginning of each such comment.
MARK = f"vizdash/{SCHEMA} "
_SAFE = re.compile(r"[^A-Za-z0-9._:+@/-]")
_PAIR = re.compile(r"([a-z]+)=([A-Za-z0-9._:+@/-]{1,64})|(note|error)=([A-Za-z0-9._~%-]{1,900})")
#: Bytes of an encoded note: a comment has at most 1,024 (slurm.conf(5), "job_comment").
NOTE_LIMIT = 700
_NUMBER = re.compile(r"[0-9]{1,10}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a job's comment claims of a session."""

    id: str
    app: str
    image: str = ""
    state: str = "pending"
    step: str = ""
    viewers: int | None = None
    since: int | None = None
    note: str = ""
    digest: str = ""
    error: str = ""
    kind: str = ""
    lease: int | None = None


def encode(claim: Claim) -> str:
    """The comment's text."""
    pairs = [
        ("id", claim.id),
        ("app", claim.app),
        *([("kind", claim.kind)] if claim.kind else []),
        ("image", claim.image),
        *([("lease", str(claim.lease))] if claim.lease else []),
        ("state", claim.state),
        ("step", claim.step),
    ]
    if claim.viewers is not None and claim.since is not None:
        pairs += [("viewers", str(claim.viewers)), ("since", str(claim.since))]
    if claim.digest:
        pairs.append(("digest", claim.digest))
    text = MARK + " ".join(f"{key}={_SAFE.sub('_', value)[:64] or '-'}" for key, value in pairs)
    for key, value in (("note", claim.note), ("error", claim.error)):
        text += f" {key}={encode_note(value)}" if value else ""
    return text


def encode_note(text: str) -> str:
    """A note as it is written in a comment."""
    return quote(text, safe="")


def with_note(claim: Claim, text: str) -> Claim:
    """The same claim with a note."""
    return replace(claim, note=text)


def decode(comment: str) -> Claim | None:
    """The claim in a comment; None where it is not vizdash's, or malformed."""
    if not comment.startswith(MARK):
        return None
    pairs: dict[str, str] = {}
    for word in comment[len(MARK) :].split(" "):
        match = _PAIR.fullmatch(word)
        if not match:
            return None
        if match[3]:
            pairs[match[3]] = unquote(match[4], errors="replace")
        else:
            pairs[match[1]] = "" if match[2] == "-" else match[2]
    if not is_id(pairs.get("id", "")) or not pairs.get("app"):
        return None
    return Claim(
        id=pairs["id"],
        app=pairs["app"],
        image=pairs.get("image", ""),
        state=pairs.get("state", ""),
        step=pairs.get("step", ""),
        viewers=_number(pairs.get("viewers", "")),
        since=_number(pairs.get("since", "")),
        note=pairs.get("note", ""),
        digest=_digest(pairs.get("digest", "")),
        error=pairs.get("error", ""),
        kind=pairs.get("kind", ""),
        lease=_number(pairs.get("lease", "")),
    )


def _digest(text: str) -> str:
    return text if _DIGEST.fullmatch(text) else ""


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of a session id: eight lower-case hexadecimal digits."""
    return _ID.fullmatch(text) is not None
