"""What a dashboard does with images: deploys and builds that go on, sessions on a newer one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from textual.screen import Screen

from vizdash.actions import Context
from vizdash.errors import VizdashError
from vizdash.model import Matrix, Session, SessionRequest, Snapshot
from vizdash.sessions.choice import same_again
from vizdash.ui.away import Away
from vizdash.ui.builddesk import BuildDesk
from vizdash.ui.imaging import ImageDesk
from vizdash.ui.screens.confirm import AtStake, Confirm, Question
from vizdash.ui.screens.matrix import Around
from vizdash.ui.widgets.table import Now


class Shelf(Away):
    """A part of the app. Leaving names what of it would be broken off."""

    desk: BuildDesk
    _images: ImageDesk | None
    _rights_of: frozenset[str] | None = None

    def moment(self) -> Now:
        """Now, and how old the data is."""
        raise NotImplementedError

    async def _start(self, request: SessionRequest) -> Session:
        raise NotImplementedError

    def want_images(self, action_id: str, context: Context) -> bool:
        """Build, deploy, roll back or show the matrix; whether it was one of these."""
        match action_id:
            case "build":
                self.desk.want(context.session.app if context.session else context.app)
            case "logs":
                self.build_log(context.app)
            case "deploy" | "rollback" | "matrix":
                if self._images is not None:
                    self._images.want(action_id, context, self._around)
            case _:
                return False
        return True

    def ask(self, screen: Screen[str | None], answered: Callable[[str], Awaitable[None]]) -> None:
        """See operators.Face."""

        def given(text: str | None) -> None:
            if text is not None:
                self.run_worker(partial(answered, text), group="writes")

        self.push_screen(screen, given)

    def confirm(self, question: Question, answered: Callable[[], Awaitable[None]]) -> None:
        """See operators.Face."""

        def given(yes: bool | None) -> None:
            if yes:
                self.run_worker(answered, group="writes")

        self.push_screen(Confirm(question), given)

    def build_log(self, app: str) -> None:
        """See imaging.Teller."""
        self.desk.want_log(app)

    def _around(self) -> Around:
        board = self._dashboard
        return Around(board.context(), self.moment(), board.registry)

    def ask_image_rights(self, snapshot: Snapshot) -> None:
        """As soon as the nodes have been looked at, and again when others could be."""
        looked = snapshot.matrix.looked
        if self._images is None or not snapshot.places or self._rights_of == looked:
            return
        self._rights_of = looked
        asking = self._ask_rights_of(self._images, snapshot.matrix)
        self.run_worker(asking, name="image-rights", group="rights", exclusive=True)

    async def _ask_rights_of(self, desk: ImageDesk, matrix: Matrix) -> None:
        self._dashboard.image_rights = await desk.rights(matrix)

    def renew(self, session: Session) -> None:
        """A session of the same size, on the image that new sessions run from."""
        self.run_worker(self._renew(same_again(session)), name="renew", group="writes")

    async def _renew(self, request: SessionRequest) -> None:
        try:
            await self._start(request)
        except VizdashError as e:
            self.trouble(e.line)

    def at_stake(self) -> AtStake:
        """See away.Away."""
        changing = self._images is not None and self._images.busy
        return AtStake(changing, self.desk.builds.going)
