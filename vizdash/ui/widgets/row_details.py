"""The details of the row under the cursor, with a live preview of your ready desktop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.worker import Worker

from vizdash.errors import VizdashError
from vizdash.model import Session, SessionState, Snapshot
from vizdash.ui.present.lines import Line, content, lines
from vizdash.ui.present.session_details import (
    SessionExtras,
    log_tail,
    session_details,
    session_summary,
)
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.ui.widgets.thumbnail import PictureSource, Thumbnail
from vizdash.util.text import cell_width

if TYPE_CHECKING:
    from vizdash.sessions.folder_summary import FolderSummary

#: Lines of the log that are fetched.
_LOG_LINES = 60
#: The least number of rows for a preview below the text.
_PICTURE_ROWS = 8

#: The space for the details: one line, all lines, or lines with log and preview, the preview
#: beside the text or below it.
DetailLayout = Literal["line", "lines", "beside", "below"]


class DetailSource(Protocol):
    """Supplies what a row does not hold."""

    def address(self, session: Session) -> str:
        """The address of its open desktop; empty while it is not open."""
        ...

    def picture(self, session: Session) -> PictureSource | None:
        """Pictures of its desktop; None where the preview is off."""
        ...

    async def trail(self, session: Session, lines: int) -> FolderSummary:
        """The summary of its session folder. Raises VizdashError."""
        ...


class Detail(Container):
    """Shows a session (``show_session``) or given lines (``show``). Log and preview are fetched
    only for your own sessions, and only once one has been shown for ``PAUSE_S`` seconds. What
    could not be fetched is fetched again after ``RETRY_S`` seconds, then twice as many, and so on.
    """

    PAUSE_S: ClassVar[float] = 0.5
    RETRY_S: ClassVar[float] = 10.0
    LONGEST_RETRY_S: ClassVar[float] = 300.0

    class PreviewChanged(Message):
        """The preview appeared or disappeared."""

    def __init__(self, source: DetailSource | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._source = source
        self._text = DiffText(id="detail-text", markup=False)
        self._picture = Thumbnail(id="detail-picture")
        self._key: tuple[str, ...] = ()
        self._trail: FolderSummary | None = None
        self._fetching: Worker[None] | None = None
        self._trail_failed = False
        self._retry_s = self.RETRY_S
        self._retry_at = 0.0
        self._draw: Callable[[], None] = lambda: None

    def use(self, source: DetailSource) -> None:
        """Use another source; the next ``show_session`` fetches from it."""
        self._source = source
        self.resume()

    def compose(self) -> ComposeResult:
        """The text, and the preview while there is one."""
        yield self._text
        yield self._picture

    def show(self, rows: Sequence[Line], *, layout: bool) -> None:
        """Show these lines. ``layout`` is whether their number sets the height."""
        self.clear()
        self._draw = partial(self._write, rows, layout=layout)
        self._draw()

    def show_session(
        self, session: Session, snapshot: Snapshot | None, now: Now, space: DetailLayout
    ) -> None:
        """Show as much of the session as fits."""
        if space == "line":
            self.show([session_summary(session, now)], layout=True)
            return
        key = (session.job_id, session.state, session.step, session.node, space)
        if key != self._key:
            if key[:1] != self._key[:1]:
                self.clear()
            self._key = key
            self._retry_s = self.RETRY_S
            self._start_fetching(session, space)
        elif self._is_retry_due():
            self._retry_s = min(2 * self._retry_s, self.LONGEST_RETRY_S)
            self._start_fetching(session, space)
        self._draw = partial(self._write_session, session, snapshot, now, space)
        self._draw()

    def clear(self) -> None:
        """Stop fetching, and forget what was fetched."""
        if self._key:
            self._key, self._trail = (), None
            self.pause()

    @property
    def has_preview(self) -> bool:
        """Whether there is a preview."""
        return self.has_class("-pictured")

    def pause(self) -> None:
        """Stop fetching until ``resume`` or another row; the text stays."""
        self.workers.cancel_group(self, "trail")
        self._set_preview(None)

    def resume(self) -> None:
        """The next ``show_session`` fetches again."""
        self._key = self._key[:1]

    def reload(self, session: Session) -> None:
        """Fetch the end of the log again, unless a fetch is still running: that may be slow, and
        the preview starts with it.
        """
        if self._trail is not None and self._is_idle:
            self._start_fetching(session, None)

    def on_resize(self, event: events.Resize) -> None:
        """Show as many lines of the log as fit."""
        self._draw()

    # ------------------------------------------------------------------ fetching

    @property
    def _is_idle(self) -> bool:
        return self._fetching is None or self._fetching.is_finished

    def _is_retry_due(self) -> bool:
        failed = self._trail_failed or self._picture.failed
        return failed and self._is_idle and time.monotonic() >= self._retry_at

    def _start_fetching(self, session: Session, space: DetailLayout | None) -> None:
        if session.mine and self._source is not None:
            if space is not None:
                self._retry_at = time.monotonic() + self._retry_s
            fetch = self._fetch(self._source, session, space)
            self._fetching = self.run_worker(fetch, exclusive=True, group="trail")

    async def _fetch(
        self, source: DetailSource, session: Session, space: DetailLayout | None
    ) -> None:
        """Fetch the log, and the preview unless ``space`` is None."""
        await asyncio.sleep(self.PAUSE_S)
        if space is not None:
            desktop = not session.legacy and not session.service
            ready = session.state is SessionState.READY and desktop
            wanted = ready and space in {"beside", "below"}
            self._set_preview(source.picture(session) if wanted else None)
        try:
            self._trail = await source.trail(session, _LOG_LINES)
            self._trail_failed = False
        except VizdashError as e:
            self._trail_failed = True
            from vizdash.sessions.folder_summary import FolderSummary

            self._trail = FolderSummary(note=e.line)
        self._draw()

    def _set_preview(self, source: PictureSource | None) -> None:
        before = self.has_preview
        self.set_class(source is not None, "-pictured")
        self._picture.show_source(source)
        if before != self.has_preview:
            self.post_message(self.PreviewChanged())

    # ------------------------------------------------------------------ drawing

    def _write_session(
        self, session: Session, snapshot: Snapshot | None, now: Now, space: DetailLayout
    ) -> None:
        address = self._source.address(session) if self._source else ""
        rows = session_details(session, now, SessionExtras(snapshot, self._trail, address))
        if space != "lines":
            cells = max(1, self._text.size.width)
            taken = sum(_rows(one, cells) for one in rows)
            below = space == "below" and self.has_preview
            high = self.size.height
            left = high - taken - (max(_PICTURE_ROWS, high * 2 // 5) if below else 0)
            rows += log_tail(self._trail, left, cells)
        self._write(rows, layout=space in {"lines", "below"})

    def _write(self, rows: Sequence[Line], *, layout: bool) -> None:
        self._text.put(content(rows[0]) if len(rows) == 1 else lines(rows), layout=layout)


def _rows(one: Line, cells: int) -> int:
    """Rows that a line takes; an estimate, since lines are broken at words."""
    return max(1, -(-sum(cell_width(span.text) for span in one) // cells))
