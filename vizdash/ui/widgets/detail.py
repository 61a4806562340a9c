"""What there is to say of one row, and beside it what a ready desktop of one's own looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal, Protocol

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.worker import Worker

from vizdash.errors import VizdashError
from vizdash.model import Session, SessionState, Snapshot
from vizdash.sessions.trail import Trail
from vizdash.ui.format import width
from vizdash.ui.sessiondetails import More, log_lines, session_line, session_lines
from vizdash.ui.theme import Line, content, lines
from vizdash.ui.widgets.rows import Rows
from vizdash.ui.widgets.table import Now
from vizdash.ui.widgets.thumbnail import Source, Thumbnail

#: Lines of a log that are asked for.
_LOG_LINES = 60
#: Rows that a picture below the text needs at the least.
_PICTURE_ROWS = 8

#: How much room there is: for one line, for the lines alone, or for log and picture too, the
#: picture beside the text or below it.
Room = Literal["line", "lines", "beside", "below"]


class Looks(Protocol):
    """Where a detail gets what no row tells."""

    def address(self, session: Session) -> str:
        """Where its desktop is; empty while it is not open."""
        ...

    def picture(self, session: Session) -> Source | None:
        """Pictures of its desktop; None where none are wanted."""
        ...

    async def trail(self, session: Session, lines: int) -> Trail:
        """What is in its folder. Raises VizdashError."""
        ...


class Detail(Container):
    """``tell`` is for a session, ``show`` for anything else. What has to be fetched is fetched for
    a session of one's own only, once it has been shown for ``PAUSE_S`` seconds.
    """

    PAUSE_S: ClassVar[float] = 0.5

    class Pictured(Message):
        """Its picture came or went."""

    def __init__(self, looks: Looks | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._looks = looks
        self._text = Rows(id="detail-text", markup=False)
        self._picture = Thumbnail(id="detail-picture")
        self._key: tuple[str, ...] = ()
        self._trail: Trail | None = None
        self._fetching: Worker[None] | None = None
        self._draw: Callable[[], None] = lambda: None

    def compose(self) -> ComposeResult:
        """The text, and the picture while there's one."""
        yield self._text
        yield self._picture

    def show(self, found: Sequence[Line], *, layout: bool) -> None:
        """These lines; nothing is looked at. ``layout`` is whether their number sets the height."""
        self.rest()
        self._draw = partial(self._write, found, layout=layout)
        self._draw()

    def tell(self, session: Session, snapshot: Snapshot | None, now: Now, room: Room) -> None:
        """All of this session that there's room for."""
        if room == "line":
            self.show([session_line(session, now)], layout=True)
            return
        key = (session.job_id, session.state, session.step, session.node, room)
        if key != self._key:
            if key[:1] != self._key[:1]:
                self.rest()
            self._key = key
            self._look(session, room)
        self._draw = partial(self._write_session, session, snapshot, now, room)
        self._draw()

    def rest(self) -> None:
        """Look at nothing."""
        if self._key:
            self._key, self._trail = (), None
            self.pause()

    @property
    def pictured(self) -> bool:
        """Whether there's a picture."""
        return self.has_class("-pictured")

    def pause(self) -> None:
        """Look at nothing until ``resume`` or another row; what is shown stays."""
        self.workers.cancel_group(self, "trail")
        self._see(None)

    def resume(self) -> None:
        """The next ``tell`` looks again."""
        self._key = self._key[:1]

    def reload(self, session: Session) -> None:
        """Ask for the end of its log again, unless something is still being fetched: that may be
        slow, and the picture is begun with it.
        """
        idle = self._fetching is None or self._fetching.is_finished
        if self._trail is not None and idle:
            self._look(session, None)

    def on_resize(self, event: events.Resize) -> None:
        """As much of the log as there's room for."""
        self._draw()

    # ------------------------------------------------------------------ fetching

    def _look(self, session: Session, room: Room | None) -> None:
        if session.mine and self._looks is not None:
            fetch = self._fetch(self._looks, session, room)
            self._fetching = self.run_worker(fetch, exclusive=True, group="trail")

    async def _fetch(self, looks: Looks, session: Session, room: Room | None) -> None:
        """``room`` is None where the picture is to stay as it is."""
        await asyncio.sleep(self.PAUSE_S)
        if room is not None:
            ready = session.state is SessionState.READY and not session.legacy
            wanted = ready and room in {"beside", "below"}
            self._see(looks.picture(session) if wanted else None)
        try:
            self._trail = await looks.trail(session, _LOG_LINES)
        except VizdashError as e:
            self._trail = Trail(note=e.line)
        self._draw()

    def _see(self, source: Source | None) -> None:
        before = self.pictured
        self.set_class(source is not None, "-pictured")
        self._picture.look(source)
        if before != self.pictured:
            self.post_message(self.Pictured())

    # ------------------------------------------------------------------ drawing

    def _write_session(
        self, session: Session, snapshot: Snapshot | None, now: Now, room: Room
    ) -> None:
        address = self._looks.address(session) if self._looks else ""
        found = session_lines(session, now, More(snapshot, self._trail, address))
        if room != "lines":
            cells = max(1, self._text.size.width)
            taken = sum(_rows(one, cells) for one in found)
            below = room == "below" and self.pictured
            high = self.size.height
            left = high - taken - (max(_PICTURE_ROWS, high * 2 // 5) if below else 0)
            found += log_lines(self._trail, left, cells)
        self._write(found, layout=room in {"lines", "below"})

    def _write(self, found: Sequence[Line], *, layout: bool) -> None:
        self._text.put(content(found[0]) if len(found) == 1 else lines(found), layout=layout)


def _rows(one: Line, cells: int) -> int:
    """Rows that a line takes, as far as can be told without breaking it at its words."""
    return max(1, -(-sum(width(span.text) for span in one) // cells))
