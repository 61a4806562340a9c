"""Which images a prune may remove."""

from __future__ import annotations

from vizdash.config import App
from vizdash.images.switch_and_prune import OldImage, find_prunable, merge_shared_copy
from vizdash.model import Image, ImageRoot, Matrix, Session, SessionState


def old(node: str, version: str) -> OldImage:
    return OldImage(node, "gedit", f"gedit-{version}.sif", version, 1 << 20)


def test_what_one_node_has_in_use_stays_for_all_that_share_the_copy() -> None:
    going = [old("a", "1.0"), old("a", "1.1"), old("b", "1.1")]
    staying = [(old("b", "1.0"), "a process runs from it")]
    gone, kept = merge_shared_copy(going, staying)
    assert gone == (old("", "1.1"),)
    assert kept == ((old("", "1.0"), "a process runs from it"),)


def test_nothing_goes_where_nothing_is_old() -> None:
    assert merge_shared_copy([], []) == ((), ())


FOLDER = "/opt/apptainers/apps/paraview"
VERSIONS = ("5.9", "5.10", "5.11", "5.12")
IMAGES = tuple(
    Image("paraview", f"{FOLDER}/paraview-{version}.sif", version, node="n1")
    for version in VERSIONS
)
MATRIX = Matrix(IMAGES, (ImageRoot("n1"),))


def waiting(app: str, image: str) -> Session:
    return Session("i", "1", app, "anna", SessionState.PENDING, image_version=image)


def kept_versions(*sessions: Session, catalogue: tuple[App, ...] = ()) -> dict[str, str]:
    going, staying = find_prunable(MATRIX, "paraview", 1, sessions, catalogue)
    assert {old.version for old in going} | {old.version for old, _ in staying} == {*VERSIONS[:3]}
    return {old.version: why for old, why in staying}


def test_an_image_that_the_catalogue_names_stays() -> None:
    old = App("paraview-old", image=f"{FOLDER}/paraview-5.10.sif")
    assert kept_versions(catalogue=(App("paraview"), old)) == {
        "5.10": "the app paraview-old runs from it"
    }
    assert kept_versions(catalogue=(App("gedit", image="/srv/paraview-5.10.sif"),)) == {}


def test_sessions_of_another_entry_on_an_image_of_this_app_count() -> None:
    """What an entry names may have changed since the session was handed in."""
    entries = (
        App("one", image=f"{FOLDER}//paraview-5.12.sif"),
        App("two", image=f"{FOLDER}/paraview-5.12.sif"),
        App("gedit", image="/opt/apptainers/apps/gedit/gedit-5.9.sif"),
    )
    held = kept_versions(
        waiting("one", "5.9"), waiting("two", "5.11"), waiting("gedit", "5.10"), catalogue=entries
    )
    assert set(held) == {"5.9", "5.11"}
    assert "waits for it" in held["5.9"]


def test_a_session_on_an_image_by_its_path_holds_it() -> None:
    path = f"{FOLDER}/paraview-5.10.sif"
    assert set(kept_versions(waiting("paraview", path))) == {"5.10"}
    assert set(kept_versions(waiting("gedit", path))) == {"5.10"}
    assert set(kept_versions(waiting("gedit", path[:-2]))) == {"5.10"}, (
        "a claim is cut off somewhere"
    )
    assert kept_versions(waiting("gedit", "/srv/other.sif")) == {}
