"""Sessions that are services (kind web): reached by their owner's browser, and by nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.lab import Lab
from tests.lab.browser import Desktop, browser
from tests.lab.images import build_from_wheels
from tests.lab.verbs import (
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)
from tests.waiting import wait_until

NODE = "viz-node002"
CONFIG = ".config/vizdash/config.yaml"
#: A small web service on a Unix socket or on a port.
SERVER = """
import http.server, os, socket, socketserver, sys

class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        text = "<title>small</title><p id=p>%s cookies=%s</p>" % (
            self.path, self.headers.get("Cookie"))
        self.answer(text)
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode().upper())
    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def address_string(self):
        return "browser"

class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass

class Port(socketserver.ThreadingMixIn, socketserver.TCPServer):
    pass

if sys.argv[1] == "socket":
    Unix(os.environ["VIZDASH_SOCKET"], Page).serve_forever()
Port(("127.0.0.1", int(os.environ["VIZDASH_PORT"])), Page).serve_forever()
"""
JUPYTER = "/home/alice/jupyter.sif"
IMAGE = "/opt/apptainers/apps/desktop/desktop.sif"
APPS = f"""\
apps:
  small:
    kind: web
    image: {IMAGE}
    command: exec python3 ~/server.py socket
    path: "/hello?id={{id}}"
    resources: &size {{cores: 1, memory: 1G, time: 1h}}
  plain-port:
    kind: web
    listen: port
    runtime: host
    host_command: exec python3 ~/server.py port
    resources: *size
  jupyter:
    kind: web
    path: "/{{id}}/lab?reset"
    resources: *size
  broken:
    kind: web
    runtime: host
    host_command: "echo no licence server >&2; exit 3"
    resources: *size
"""


@pytest.fixture
def services(lab: Lab) -> Iterator[Lab]:
    lab.login.run(f"mkdir -p {CONFIG.rpartition('/')[0]}", user="alice")
    lab.login.run(f"cat >{CONFIG}", user="alice", input=APPS)
    lab.login.run("cat >server.py", user="alice", input=SERVER)
    yield lab
    lab.login.run("rm -rf .config .cache server.py", user="alice")


def alice(lab: Lab) -> int:
    """The user id of the sessions' owner."""
    return int(lab.login.run(["id", "-u"], user="alice").stdout)


def text_of(page: Page) -> str:
    page.wait_for_selector("#p")
    return page.inner_text("#p")


def session_folder(lab: Lab, session_id: str) -> dict[str, str]:
    path = f"/home/alice/.local/state/vizdash/sessions/{session_id}/connection"
    lines = lab.login.run(["cat", path], user="alice").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("app", ["small", "plain-port"])
def test_a_service_is_reached_by_its_owner_alone(services: Lab, app: str) -> None:
    lab = services
    session = start_session(lab, app, "--node", NODE)
    node = lab.hosts[NODE]
    assert session["kind"] == "web"
    # Others see its kind too, and no secret.
    seen = {s["id"]: s for s in list_sessions(lab, "bob", "--all")}
    assert seen[session["id"]]["kind"] == "web"
    connection = session_folder(lab, session["id"])
    token = connection["PASSWORD"]
    assert len(token) == 32
    search = "grep -lsaFf - /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    assert node.run(search, input=token, check=False).stdout == ""
    # No port of the node is open, and the folder of the socket is closed to others.
    assert "python" not in node.run("ss -Htlnp").stdout
    loopback = ["curl", "-s", "http://127.0.0.1:8000/"]
    assert node.run(loopback, user="bob", check=False).returncode == 7
    socket = connection["WEB_SOCKET"]
    curl = ["curl", "-s", "--unix-socket", socket, "http://localhost/hello"]
    assert node.run(curl, user="bob", check=False).returncode == 7
    with open_session(lab, session["id"]) as url, browser(lab.login, alice(lab)) as chromium:
        assert "?" not in url
        assert url.endswith(f"/.vizdash/open#token={token}")
        page = chromium.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        expected = f"/hello?id={session['id']} " if app == "small" else "/ "
        page.wait_for_url(f"**{expected.strip()}")
        # The gate's cookie is not the app's business.
        assert text_of(page) == f"{expected}cookies=None"
        assert not any(token in one.partition("#")[0] for one in asked)
        posted = "fetch('/form', {method: 'POST', body: 'a body'}).then(r => r.text())"
        assert page.evaluate(posted) == "A BODY"
        # Without the cookie, through the same tunnel, there is nothing.
        near = url.partition("/.vizdash")[0]
        status = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"]
        # With it, there is nothing for another user, whose own server may have been sent it.
        (cookie,) = chromium.cookies()
        assert cookie.get("name") == f"vizdash-{session['id']}"
        replay = [*status, "-b", f"{cookie.get('name')}={cookie.get('value')}", near]
        assert lab.login.run(replay, user="alice").stdout == "200"
        assert lab.login.run(replay, user="bob").stdout == "403"
        assert lab.login.run([*status, near], user="alice").stdout == "403"
        wrong = [*status, "-X", "POST", "-H", "X-Vizdash-Token: x", f"{near}/.vizdash/enter"]
        assert lab.login.run(wrong, user="alice").stdout == "403"
        row = wait_for_viewer(lab, session["id"])
        assert row["viewers"] == 1
    run_vizdash(lab, "stop", session["id"])
    assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"
    wait_nothing_left(node)


@pytest.fixture
def jupyter(services: Lab) -> Iterator[Lab]:
    """JupyterLab's image, from its definition and from packages of PyPI."""
    root, _ = Lab.build()
    image = services.run / JUPYTER.lstrip("/")
    image.hardlink_to(build_from_wheels(root, "jupyter", "jupyterlab"))
    folder = "/opt/apptainers/apps/jupyter"
    services.hosts[NODE].run(f"mkdir {folder}; ln -s {JUPYTER} {folder}/jupyter.sif")
    yield services
    services.hosts[NODE].run(f"rm -r {folder}")
    image.unlink()
    services.login.run("rm -rf .jupyter .ipython .local/share/jupyter work.ipynb", user="alice")


def run_cell(page: Page, code: str, output: str) -> None:
    """Run code in the notebook's first cell until it prints this: keys that come before the kernel
    is connected are lost.
    """
    deadline = time.monotonic() + 180
    while True:
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click(timeout=120_000)
        page.keyboard.press("Control+a")
        page.keyboard.type(code)
        page.keyboard.press("Shift+Enter")
        try:
            page.wait_for_selector(f".jp-OutputArea-output:has-text('{output}')", timeout=20_000)
            return
        except PlaywrightTimeout:
            picture = Desktop(page).save("jupyterlab")
            assert time.monotonic() < deadline, f"the cell printed nothing: {picture}"


def test_jupyterlab_runs_a_cell(jupyter: Lab) -> None:
    lab, node = jupyter, jupyter.hosts[NODE]
    session = start_session(lab, "jupyter", "--node", NODE)
    with open_session(lab, session["id"]) as url, browser(lab.login, alice(lab)) as chromium:
        page = chromium.new_page()
        page.goto(url)
        page.click('.jp-LauncherCard[data-category="Notebook"]', timeout=120_000)
        run_cell(page, "import os; print(os.uname().nodename, 6 * 7)", f"{NODE} 42")
        # Neither JupyterLab nor its kernel can be reached by others on the node.
        listens = node.run("ss -Htlnp | grep -E 'python|jupyter'; true").stdout
        assert "jupyter" not in listens
        assert len(listens.splitlines()) <= 1  # ipykernel's pipe, which drops what is not its own
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    wait_nothing_left(node)


def wait_for_viewer(lab: Lab, session_id: str) -> dict[str, object]:
    def row() -> dict[str, object]:
        return next(s for s in list_sessions(lab) if s["id"] == session_id)

    wait_until(lambda: bool(row()["viewers"]), "the viewer to be counted", 180)
    return row()


def test_a_service_that_fails_says_why(services: Lab) -> None:
    done = run_vizdash(services, "start", "broken", "--node", NODE, "--wait", check=False)
    assert done.returncode == 1
    assert "failed at step app: the service ended at once with code 3: no licence" in done.stderr
