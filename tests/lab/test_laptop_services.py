"""Services opened from a laptop: by SSH to their nodes, or where they refuse it, by a job step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.browser import browser
from tests.lab.desktops import HOST, open_from_laptop
from tests.lab.outside import LAPTOP_USER, STRANGER, OutsideNetwork, closed_nodes
from tests.lab.test_services import SERVER, text_of
from tests.lab.verbs import wait_for_state, wait_nothing_left

NODE = "viz-node002"
#: The laptop's own configuration: the service is started from there.
CONFIG = """\
apps:
  small:
    kind: web
    runtime: host
    host_command: exec python3 ~/server.py socket
    path: "/hello?id={id}"
    resources: {cores: 1, memory: 1G, time: 1h}
"""


@pytest.fixture
def services(lab: Lab, outside: OutsideNetwork) -> Iterator[OutsideNetwork]:
    """What the service needs on the cluster, and the laptop's configuration."""
    lab.login.run("cat >server.py", user="alice", input=SERVER)
    outside.write(".config/vizdash/config.yaml", CONFIG)
    yield outside
    lab.login.run("rm -rf server.py .cache", user="alice")


@contextlib.contextmanager
def _node_route(lab: Lab, route: str) -> Iterator[None]:
    with closed_nodes(lab) if route == "srun" else contextlib.nullcontext():
        yield


def _user_id(outside: OutsideNetwork) -> int:
    return int(outside.run("id", "-u"))


@pytest.mark.parametrize("route", ["ssh", "srun"])
def test_a_web_service_is_its_owners_alone(lab: Lab, services: OutsideNetwork, route: str) -> None:
    with _node_route(lab, route):
        session = services.start(*HOST, "small", "--node", NODE)
        assert session["kind"] == "web"
        with (
            open_from_laptop(services, session["id"]) as url,
            browser(services.laptop, _user_id(services)) as chromium,
        ):
            page = chromium.new_page()
            page.goto(url)
            page.wait_for_url(f"**/hello?id={session['id']}")
            assert text_of(page) == f"/hello?id={session['id']} cookies=None"
            # Another user of the laptop, even with the cookie, is refused.
            (cookie,) = chromium.cookies()
            words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"]
            words += ["-b", f"{cookie.get('name')}={cookie.get('value')}"]
            words.append(url.partition("/.vizdash")[0])
            assert services.laptop.run(words, user=LAPTOP_USER).stdout == "200"
            assert services.laptop.run(words, user=STRANGER).stdout == "403"
        services.vizdash(*HOST, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended")
        wait_nothing_left(lab.hosts[NODE], "alice")
