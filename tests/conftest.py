"""The order of the test files, and what all of them share."""

from __future__ import annotations

import gc

import pytest

#: The files that take longest, by far: they begin first, so that none is waited for at the end.
_FIRST = (
    "test_deploy.py",
    "test_laptop_dashboard.py",
    "test_accounting.py",
    "test_handoff.py",
    "test_laptop.py",
    "test_build.py",
    "test_ends.py",
    "test_crowd.py",
    "test_session.py",
    "test_actions.py",
    "test_pictures.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.name
        small = item.path.parent.name in {"unit", "images"}
        return _FIRST.index(name) if name in _FIRST and not small else len(_FIRST)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """The modules and the tests themselves stay: a fifth of the CPU went into looking, again and
    again, for garbage among them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
