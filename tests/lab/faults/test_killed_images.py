"""vizdash is killed (SIGKILL) at every step of a build and of a deploy, and run again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.integration.images.operators import image_bytes
from tests.lab import Host, Lab
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import NODE, rows
from tests.lab.faults.walk import killed_at_each_step
from tests.lab.gedit_builds import ADMIN, HOME
from tests.lab.test_build import store, wait_clean, workshop_of_alice
from tests.lab.verbs import run_vizdash
from tests.waiting import wait_until

WHOLE = {"./gedit-1.1.json", "./gedit-1.1.sif"}
APPS = "/opt/apptainers/apps"
FOLDER = f"{APPS}/gedit"
STORE = f"{HOME}/store/gedit"
_CONFIG = f"clusters: {{lab: {{image_store: {HOME}/store}}}}\n"


@pytest.fixture
def workshop(lab: Lab) -> Iterator[Lab]:
    """alice's folder with a definition file for gedit."""
    with workshop_of_alice(lab):
        yield lab


@pytest.mark.parametrize("fault", rows("vizdash killed: build"))
def test_build(workshop: Lab, fault: Fault, record_property: Record) -> None:
    login = workshop.login
    words = ("build", "gedit", "--version", "1.1")

    def empty_store() -> None:
        login.run("rm -rf work/store", user="alice")

    with measuring(fault, record_property) as watch:
        for where in killed_at_each_step(login, *words, before=empty_store):
            named = {name for name in store(login) if "/." not in name}
            assert named <= WHOLE, where
            wait_clean(workshop)
            watch.start()
        assert set(store(login)) == WHOLE
        watch.wait_recovered(lambda: True, "the next build")


@pytest.fixture
def images(lab: Lab) -> Iterator[dict[str, str]]:
    """The deploy account's store has gedit 1.0, which is on all nodes, and 1.1: versions by the
    digests of their images.
    """
    lab.login.run(f"mkdir -p .config/vizdash {STORE}", user=ADMIN)
    lab.login.run(["tee", ".config/vizdash/config.yaml"], user=ADMIN, input=_CONFIG)
    made = {}
    for version in ("1.0", "1.1"):
        image = image_bytes(version, size=1 << 20)
        (lab.login.root / STORE[1:] / f"gedit-{version}.sif").write_bytes(image)
        made[hashlib.sha256(image).hexdigest()] = version
    for node in lab.nodes:
        node.run(f"[ ! -d {FOLDER} ] || mv {FOLDER} {APPS}/../kept")
    yield made
    for node in lab.nodes:
        node.run(f"rm -rf {FOLDER}; [ ! -d {APPS}/../kept ] || mv {APPS}/../kept {FOLDER}")
    lab.login.run(f"rm -f {APPS}/.inventory.json; rm -rf {APPS}/.lease-*")
    state = ".local/state/vizdash"
    lab.login.run(f"rm -rf .config/vizdash store {state}/images.jsonl", user=ADMIN)


def current(node: Host) -> str:
    """The digest of a node's current gedit."""
    return node.run(["sha256sum", f"{FOLDER}/gedit.sif"]).stdout.split()[0]


@pytest.mark.parametrize("fault", rows("vizdash killed: deploy"))
def test_deploy(lab: Lab, images: dict[str, str], fault: Fault, record_property: Record) -> None:
    node = lab.hosts[NODE]
    words = ("deploy", "gedit", "--node", NODE, "--version", "1.1")
    run_vizdash(lab, *words[:-1], "1.0", user=ADMIN)
    node.run(["cp", "-a", FOLDER, "/root/old"])

    def back_to_old() -> None:
        # A copy that a killed deploy had begun ends soon.
        wait_until(lambda: not copying(node), "end of all", seen=lambda: copying(node))
        node.run(f"rm -rf {FOLDER} && cp -a /root/old {FOLDER}")

    with measuring(fault, record_property) as watch:
        for where in killed_at_each_step(lab.login, *words, user=ADMIN, before=back_to_old):
            assert current(node) in images, where
            watch.start()
        watch.wait_recovered(lambda: images[current(node)] == "1.1", "the next deploy")
    node.run(["rm", "-rf", "/root/old"])
    assert not node.run(f"find {FOLDER} -name '*.part*'").stdout
    log = (lab.login.root / f"{HOME}/.local/state/vizdash/images.jsonl".lstrip("/")).read_text()
    outcomes = {json.loads(line)["outcome"] for line in log.splitlines()}
    assert {"ok", "interrupted"} <= outcomes


def copying(node: Host) -> str:
    """The processes of the deploy account on a node."""
    return node.processes(ADMIN)
