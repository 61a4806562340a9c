"""MIG slices: which of the GPUs that nodes offer compute only."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vizdash.model import Node

#: A profile in a GRES type, such as ``1g.5gb`` or ``nvidia_a100_3g.20gb`` (gres.conf(5), "Type";
#: NVIDIA MIG User Guide, "MIG Device Names").
_PROFILE = re.compile(r"(?<![a-z0-9])[1-9][0-9]*g\.[0-9]+gb", re.IGNORECASE)
#: What the profile of a slice with graphics has in its name.
_GRAPHICS = "gfx"


def mig_note(gpus: int, nodes: Iterable[Node]) -> str:
    """What a session with GPUs on one of ``nodes`` should know of their MIG slices, in words; empty
    for none.
    """
    types = {gres.type for node in nodes for gres in node.gres if gres.name == "gpu"}
    slices = {t for t in types if _PROFILE.search(t) and _GRAPHICS not in t.lower()}
    if not gpus or not slices:
        return ""
    if slices == types:
        return "its GPU is a MIG slice, which computes only (no +gfx): OpenGL is drawn in software"
    names = ", ".join(sorted(slices))
    return f"a GPU may be a MIG slice ({names}), which computes only (no +gfx)"
