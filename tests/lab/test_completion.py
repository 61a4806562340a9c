"""What fish and zsh themselves complete, by the script that vizdash prints for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import Host, Lab, recipe
from tests.lab.host import output
from tests.lab.packages import unpacked
from tests.lab.verbs import start_session
from tests.waiting import wait_until

Shell = Callable[..., set[str]]

_FISH = 'vizdash completion fish | source; complete -C "$argv"'
#: zsh's completion system needs a terminal: its two functions that the script calls print what they
#: get.
_ZSH = """
compdef() { registered=$1 }
_describe() { print -l -- $completions_with_descriptions }
compadd() { print -l -- $completions }
eval "$(vizdash completion zsh)"
words=("$@") CURRENT=$#
$registered
"""


def fish(host: Host, *words: str) -> set[str]:
    """What fish completes a line to."""
    done = host.run(["fish", "--no-config", "-c", _FISH, " ".join(words)], user="alice")
    return {line.partition("\t")[0] for line in done.stdout.splitlines()}


def zsh(host: Host, *words: str) -> set[str]:
    """What zsh completes a line to."""
    if not (host.root / "usr/bin/zsh").exists():
        tree = unpacked("zsh", recipe.SUITE, ["zsh"])
        output(["cp", "-a", f"{tree}/usr/.", f"{host.root}/usr/"])
    done = host.run(["zsh", "-f", "-c", _ZSH, "zsh", *words], user="alice")
    assert done.stderr == ""
    return {line.partition(":")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", [fish, zsh], ids=["fish", "zsh"])
def test_verbs_apps_nodes_and_sessions(lab: Lab, site: None, shell: Shell) -> None:
    session = start_session(lab, "plain")
    assert shell(lab.login, "vizdash", "st") == {"start", "stop"}
    assert "plain" in shell(lab.login, "vizdash", "start", "pl")
    # The cluster is not waited for: where it takes 3 s, there are no completions.
    for words, expected in (
        (("start", "plain", "--node", "viz"), {node.name for node in lab.nodes}),
        (("stop", session["id"][:2]), {session["id"]}),
    ):
        wait_until(
            lambda words=words, expected=expected: (  # type: ignore[misc]
                shell(lab.login, "vizdash", *words) == expected
            ),
            f"completion of {words}",
        )
