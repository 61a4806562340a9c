"""The start form's fields as text, and the request they make. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vizdash.config import App
from vizdash.config.desktop_size import MAX_SCALE
from vizdash.config.readers import GEOMETRY
from vizdash.model import Resources, SessionRequest
from vizdash.util.units import duration_input, memory_input, parse_duration, parse_memory

#: Precedes the names of saved sizes.
SAVED_MARK = "★ "
#: The chip of a size that is not a preset.
CUSTOM_SIZE = "custom"
#: Fields that are rarely needed.
RARE_FIELDS = ("account", "qos", "partition", "reservation", "constraint", "scale")
SIZE_FIELDS = ("cores", "memory", "gpus", "time")


class FormError(Exception):
    """A field whose text is invalid."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class StartForm:
    """The values of the form: the app, texts by field name, and settings without a field."""

    app: App
    texts: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    extra: tuple[str, ...] = ()
    keep: bool = False
    saved: Mapping[str, SessionRequest] = field(default_factory=dict)

    @classmethod
    def of_app(cls, app: App) -> StartForm:
        """The defaults of an app."""
        return cls(app, {**_size_texts(app.resources), "node": "", "geometry": app.geometry})

    @classmethod
    def of_request(cls, app: App, request: SessionRequest) -> StartForm:
        """The values of an earlier request."""
        texts = {
            **_size_texts(request.resources),
            **{name: str(getattr(request, name) or "") for name in RARE_FIELDS},
        }
        texts |= {"node": request.node, "geometry": request.geometry or app.geometry}
        return cls(app, texts, request.image, request.extra, request.keep)

    def sizes(self) -> list[str]:
        """The sizes to choose from: saved ones, the app's presets, and a custom one."""
        return [*(SAVED_MARK + name for name in self.saved), *app_presets(self.app), CUSTOM_SIZE]

    def chosen(self, size: str) -> StartForm:
        """The form with another size. A saved size brings all that was saved with it."""
        if size.startswith(SAVED_MARK) and size.removeprefix(SAVED_MARK) in self.saved:
            form = StartForm.of_request(self.app, self.saved[size.removeprefix(SAVED_MARK)])
            return replace(form, saved=self.saved)
        texts = {**self.texts, **_size_texts(app_presets(self.app)[size])}
        return replace(self, texts=texts)

    def preset(self) -> str:
        """The size that the texts equal, or CUSTOM_SIZE."""
        if name := self.saved_name():
            return SAVED_MARK + name
        sizes = {name: self.texts.get(name, "") for name in SIZE_FIELDS}
        return next(
            (n for n, r in app_presets(self.app).items() if _size_texts(r) == sizes), CUSTOM_SIZE
        )

    def saved_name(self) -> str:
        """The saved size that the whole form equals; empty for none."""
        now = self.comparable
        for name, request in self.saved.items():
            if StartForm.of_request(self.app, request).comparable == now:
                return name
        return ""

    @property
    def comparable(self) -> tuple[dict[str, str], str, tuple[str, ...], bool]:
        """Everything that the request depends on, for comparison."""
        texts = {name: text.strip() for name, text in self.texts.items() if text.strip()}
        return texts, self.image, self.extra, self.keep

    @property
    def other_settings(self) -> str:
        """Settings that are easily overlooked: ``only on viz-node002 · image 5.11 · sbatch:
        --exclusive``.
        """
        image = f"image {self.image}" if self.image else ""
        extra = f"sbatch: {shlex.join(self.extra)}" if self.extra else ""
        node = f"only on {self._text('node')}" if self._text("node") else ""
        return " · ".join(part for part in (node, image, extra) if part)

    def request(self) -> SessionRequest:
        """The request of these values. Raises FormError, naming the field, for an invalid text."""
        geometry = self._text("geometry")
        if geometry and not GEOMETRY.fullmatch(geometry):
            raise FormError(
                "geometry", f"desktop: {geometry!r} is not a size (write e.g. 1280x720)"
            )
        resources = Resources(
            cores=self._count("cores", least=1),
            memory_mib=self._amount("memory"),
            gpus=self._count("gpus", least=0),
            time_s=self._amount("time"),
        )
        rest = {name: self._text(name) for name in RARE_FIELDS}
        return SessionRequest(
            app=self.app.name,
            resources=resources,
            node=self._text("node"),
            geometry=geometry,
            image=self.image,
            extra=self.extra,
            keep=self.keep,
            account=rest["account"],
            qos=rest["qos"],
            partition=rest["partition"],
            reservation=rest["reservation"],
            constraint=rest["constraint"],
            scale=self._scale(),
        )

    def _text(self, name: str) -> str:
        return self.texts.get(name, "").strip()

    def _count(self, name: str, *, least: int) -> int:
        text = self._text(name) or "0"
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            what = "a whole number" + (f", {least} or more" if least else "")
            raise FormError(name, f"{name}: {text!r} is not {what}")
        return int(text)

    def _scale(self) -> int:
        text = self._text("scale")
        if text and text not in map(str, range(1, MAX_SCALE + 1)):
            raise FormError("scale", f"scale: {text!r} is not 1, 2 or {MAX_SCALE}")
        return int(text or "0")

    def _amount(self, name: str) -> int:
        parse = parse_memory if name == "memory" else parse_duration
        try:
            return parse(self._text(name))
        except ValueError as e:
            raise FormError(name, f"{name}: {e}") from e


def app_presets(app: App) -> dict[str, Resources]:
    """The app's presets; its default size comes first where it is not one of them."""
    sizes = dict(app.presets)
    if app.resources not in sizes.values():
        sizes = {"default": app.resources, **sizes}
    return sizes


def _size_texts(resources: Resources) -> dict[str, str]:
    return {
        "cores": str(resources.cores),
        "memory": memory_input(resources.memory_mib),
        "gpus": str(resources.gpus),
        "time": duration_input(resources.time_s),
    }
