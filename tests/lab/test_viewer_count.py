"""A session reports whether a browser shows it."""

from __future__ import annotations

import time
from typing import Any

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.verbs import list_sessions, open_session, start_session
from tests.waiting import wait_until


def wait_viewers(lab: Lab, count: int, seconds: float = 180) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (session := list_sessions(lab)[0])["viewers"] != count:
        assert time.monotonic() < deadline, session
        time.sleep(0.5)
    return session


def test_viewers_come_and_go(lab: Lab) -> None:
    start_session(lab, "desktop", "--memory", "1G")
    fresh = wait_viewers(lab, 0)
    now = int(lab.login.run(["date", "+%s"]).stdout)
    assert fresh["started_at"] <= fresh["idle_since"] <= now
    with open_session(lab, fresh["id"]) as url:
        # The page is read and its connections are kept, but no viewer is connected yet.
        lab.login.run(["curl", "-s", "-o", "/dev/null", url.partition("#")[0]], user="alice")
        with desktop(url, lab.login):
            assert wait_viewers(lab, 1)["idle_since"] is None
        # The route is still held, which does not count as a viewer.
        gone = wait_viewers(lab, 0)
    assert gone["idle_since"] > fresh["idle_since"]

    # Others see it too, since the job itself says it, a moment later.
    def others_see() -> tuple[int, int]:
        (seen,) = [s for s in list_sessions(lab, "bob", "--all") if s["id"] == fresh["id"]]
        return seen["viewers"], seen["idle_since"]

    expected = (0, gone["idle_since"])
    wait_until(lambda: others_see() == expected, str(expected), seen=lambda: str(others_see()))
