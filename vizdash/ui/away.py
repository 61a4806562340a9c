"""What a dashboard does about what is elsewhere: the connection, tunnels, other clusters."""

from __future__ import annotations

import sys

from vizdash.errors import VizdashError
from vizdash.model import Session, Snapshot
from vizdash.poller import Poller
from vizdash.service import Service
from vizdash.ui.board import Board
from vizdash.ui.desktops import Desktops, Opened
from vizdash.ui.inorder import InOrder
from vizdash.ui.linkwatch import LinkWatch
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.confirm import AtStake, Confirm, going_to, quitting
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.leave import LeaveScreen, Leaving
from vizdash.ui.screens.look import LookScreen
from vizdash.ui.screens.tunnels import Tunnel, TunnelsScreen


class Away(InOrder):
    """A part of the app. It ends with ``hold`` when its tunnels are to be kept, or with
    ``cluster:NAME`` when another cluster is wanted; then the tunnels are not closed either.
    """

    _service: Service
    _board: Board
    _desktops: Desktops
    _poller: Poller
    _link: LinkWatch
    _dashboard: Dashboard
    _tunnels_seen = False

    def trouble(self, text: str) -> None:
        """One line that names cause and mend."""
        raise NotImplementedError

    def news(self, text: str) -> None:
        """One line that goes away by itself."""
        raise NotImplementedError

    def _want_open(self, session: Session) -> None:
        raise NotImplementedError

    def at_stake(self) -> AtStake:
        """What would be broken off if this dashboard ended now."""
        raise NotImplementedError

    async def _watch(self, opened: Opened) -> None:
        raise NotImplementedError

    def mind_tunnels(self, snapshot: Snapshot) -> None:
        """Watch those that were there before this dashboard, as soon as it knows whose sessions
        live; close those whose sessions do not.
        """
        if not self._tunnels_seen:
            self._tunnels_seen = True
            for opened in self._desktops.kept:
                self.run_worker(self._watch(opened), name="watch", group="routes")
        if self._desktops.held:
            live = {s.job_id for s in snapshot.sessions if s.live}
            self.run_worker(self._desktops.prune(live), name="prune", group="routes")

    def want_away(self, action_id: str) -> bool:
        """Do it; whether it was one of these."""
        match action_id:
            case "refresh":
                if self._link.asks:
                    self.run_worker(self._log_in(), name="login", group="login")
                self._poller.refresh()
            case "tunnels":
                self._want_tunnels()
            case "clusters":
                self._want_cluster()
            case _:
                return False
        return True

    def link_back(self, words: str) -> None:
        """The connection is there again, perhaps before anybody could read that it was not."""
        self.news(words)
        self._poller.refresh()
        looks = [screen for screen in self.screen_stack if isinstance(screen, LookScreen)]
        for screen in looks:
            screen.call_later(screen.look_back)
        if not looks:  # else when they are left
            self._dashboard.look_back()

    async def _log_in(self) -> None:
        if trouble := await self._link.log_in():
            self.trouble(trouble)

    def _want_tunnels(self) -> None:
        def chosen(job_id: str | None) -> None:
            if job_id and (session := self._board.find(job_id)):
                self._want_open(session)

        def close(tunnel: Tunnel) -> None:
            self.run_worker(self._close_tunnel(tunnel), name="close", group="routes")

        own = self._desktops.tunnels
        self.push_screen(TunnelsScreen(own, close, self._desktops.elsewhere), chosen)

    async def _close_tunnel(self, tunnel: Tunnel) -> None:
        try:
            await self._desktops.close_tunnel(tunnel)
        except VizdashError as e:
            self.trouble(e.line)

    def _want_cluster(self) -> None:
        def chosen(name: str | None) -> None:
            if not name or name == now:
                return
            if name in self._service.config.clusters:
                self._go_to(name)
            else:
                self.trouble(f"the config has no cluster {name} any more")

        config = self._service.config
        now = config.cluster.name
        clusters = {**config.clusters, now: config.cluster}
        self.push_screen(ClustersScreen(clusters.values(), now), chosen)

    def _go_to(self, cluster: str) -> None:
        """Leave for it, having named what is broken off."""

        def answered(yes: bool | None) -> None:
            if yes:
                self.exit(f"cluster:{cluster}")

        at_stake = self.at_stake()
        if at_stake:
            self.push_screen(Confirm(going_to(cluster, at_stake)), answered)
        else:
            answered(True)

    async def action_quit(self) -> None:
        """Leave at once, or ask when desktops would go dark or something would be broken off."""
        if at_stake := self.at_stake():
            self._ask_quit(at_stake)
        elif self._desktops.held:
            self._ask_tunnels()
        else:
            self.exit()

    def _ask_quit(self, at_stake: AtStake) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.exit()

        if not isinstance(self.screen, Confirm):
            self.push_screen(Confirm(quitting(self._desktops.held, at_stake)), answered)

    def _ask_tunnels(self) -> None:
        """Close them, or keep them."""

        def answered(answer: Leaving | None) -> None:
            if answer == "hold":
                self.exit("hold")
            elif answer == "close":
                self.exit()

        if not isinstance(self.screen, LeaveScreen):
            may_hold = sys.platform != "darwin"  # a fork keeps no kqueue
            self.push_screen(LeaveScreen(self._desktops.held, may_hold=may_hold), answered)
