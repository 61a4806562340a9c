"""The start form's texts and the request that they mean. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vizdash.config import App
from vizdash.config.fields import GEOMETRY
from vizdash.model import Resources, SessionRequest
from vizdash.ui.format import duration_input, memory_input
from vizdash.units import parse_duration, parse_memory

#: Stands before the names of saved sizes.
SAVED = "★ "
#: The chip for a size that is no preset.
OWN = "own size"
#: Fields that few need.
MORE = ("account", "qos", "partition", "reservation", "constraint")
SIZES = ("cores", "memory", "gpus", "time")


class FormError(Exception):
    """A field that can't be understood."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Form:
    """What the form holds: the app, texts by field name, and what has no field."""

    app: App
    texts: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    extra: tuple[str, ...] = ()
    saved: Mapping[str, SessionRequest] = field(default_factory=dict)

    @classmethod
    def of_app(cls, app: App) -> Form:
        """An app with its defaults."""
        return cls(app, {**_sizes(app.resources), "node": "", "geometry": app.geometry})

    @classmethod
    def of_request(cls, app: App, request: SessionRequest) -> Form:
        """What was asked for before."""
        texts = {**_sizes(request.resources), **{name: getattr(request, name) for name in MORE}}
        texts |= {"node": request.node, "geometry": request.geometry or app.geometry}
        return cls(app, texts, request.image, request.extra)

    def sizes(self) -> list[str]:
        """What can be chosen: the saved ones, the app's, and one's own."""
        return [*(SAVED + name for name in self.saved), *presets(self.app), OWN]

    def chosen(self, size: str) -> Form:
        """Of another size. A saved one brings everything that was saved with it."""
        if size.startswith(SAVED) and size.removeprefix(SAVED) in self.saved:
            form = Form.of_request(self.app, self.saved[size.removeprefix(SAVED)])
            return replace(form, saved=self.saved)
        texts = {**self.texts, **_sizes(presets(self.app)[size])}
        return replace(self, texts=texts)

    def preset(self) -> str:
        """The size that the texts are, or OWN."""
        if name := self.saved_name():
            return SAVED + name
        sizes = {name: self.texts.get(name, "") for name in SIZES}
        return next((n for n, r in presets(self.app).items() if _sizes(r) == sizes), OWN)

    def saved_name(self) -> str:
        """The saved size that all this is; empty for none."""
        now = self.said
        for name, request in self.saved.items():
            if Form.of_request(self.app, request).said == now:
                return name
        return ""

    @property
    def said(self) -> tuple[dict[str, str], str, tuple[str, ...]]:
        """All that it would start, to compare."""
        texts = {name: text.strip() for name, text in self.texts.items() if text.strip()}
        return texts, self.image, self.extra

    @property
    def also(self) -> str:
        """What is easily overlooked: ``only on viz-node002 · image 5.11 · sbatch: --exclusive``."""
        image = f"image {self.image}" if self.image else ""
        extra = f"sbatch: {shlex.join(self.extra)}" if self.extra else ""
        node = f"only on {self._text('node')}" if self._text("node") else ""
        return " · ".join(part for part in (node, image, extra) if part)

    def request(self) -> SessionRequest:
        """Raises FormError, naming the field, when a text can't be understood."""
        geometry = self._text("geometry")
        if geometry and not GEOMETRY.fullmatch(geometry):
            raise FormError("geometry", f"desktop: {geometry!r} is no size (write e.g. 1280x720)")
        resources = Resources(
            cores=self._count("cores", least=1),
            memory_mib=self._amount("memory"),
            gpus=self._count("gpus", least=0),
            time_s=self._amount("time"),
        )
        rest = {name: self._text(name) for name in MORE}
        return SessionRequest(
            app=self.app.name,
            resources=resources,
            node=self._text("node"),
            geometry=geometry,
            image=self.image,
            extra=self.extra,
            **rest,
        )

    def _text(self, name: str) -> str:
        return self.texts.get(name, "").strip()

    def _count(self, name: str, *, least: int) -> int:
        text = self._text(name) or "0"
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            what = "a whole number" + (f", {least} or more" if least else "")
            raise FormError(name, f"{name}: {text!r} is not {what}")
        return int(text)

    def _amount(self, name: str) -> int:
        parse = parse_memory if name == "memory" else parse_duration
        try:
            return parse(self._text(name))
        except ValueError as e:
            raise FormError(name, f"{name}: {e}") from e


def presets(app: App) -> dict[str, Resources]:
    """The app's presets; its default size first where it is none of them."""
    found = dict(app.presets)
    if app.resources not in found.values():
        found = {"default": app.resources, **found}
    return found


def _sizes(resources: Resources) -> dict[str, str]:
    return {
        "cores": str(resources.cores),
        "memory": memory_input(resources.memory_mib),
        "gpus": str(resources.gpus),
        "time": duration_input(resources.time_s),
    }
