"""A prepared page as one offline HTML file."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vaeaudit.core.errors import ReportError
from vaeaudit.report.fonts import font_face
from vaeaudit.report.inline import paragraphs, spans
from vaeaudit.report.latex import to_mathml
from vaeaudit.report.page import Math, Text
from vaeaudit.report.prepare import PreparedFigure, PreparedPage, PreparedTable

if TYPE_CHECKING:
    from markupsafe import Markup

_PLACEHOLDER = re.compile(
    r"(?<=src=\")data:,([A-Za-z0-9_.-]+)(?=\")"
)  # file stems only; see prepare.file_stem
_URI_SAFE = " !$'()*+,-./:;=?@_~"  # and letters and digits; not " < > # % & and line ends
MAX_BYTES = 2_000_000
LEVELS = {  # level → (symbol, word)
    "pass": ("✓", "holds"),
    "info": ("i", "note"),
    "warn": ("!", "caution"),
    "unreliable": ("✕", "unreliable"),
}


def to_html(page: PreparedPage) -> str:
    """Render a prepared page.

    Pictures are stored more sparingly until the file is within 2 MB.

    Raises
    ------
    ReportError
        If the page stays above 2 MB, or a formula is outside the LaTeX subset.
    """
    figures = {b.name: b for s in page.sections for b in s.blocks if isinstance(b, PreparedFigure)}
    text = _render(page)
    saving = dict.fromkeys(figures, 0)
    pixels: dict[str, Any] = {}  # of the figures embedded as pictures, so that each is taken apart once

    def embedded(name: str, level: int) -> str:
        figure = figures[name]
        if level == 0 and figure.svg is not None:
            return _uri("svg+xml", figure.svg)
        if level == 0 and figure.pictorial:
            return _uri("png", figure.png)
        if name not in pixels:
            pixels[name] = _picture(figure)
        return _uri("png", _palette(pixels[name], *_SAVINGS[level - 1]) if level else _png(pixels[name]))

    images = {name: embedded(name, 0) for name in figures}
    while len(text.encode()) + sum(map(len, images.values())) > MAX_BYTES:
        candidates = [name for name, level in saving.items() if level < len(_SAVINGS)]
        if not candidates:
            size = (len(text.encode()) + sum(map(len, images.values()))) / 1e6
            raise ReportError(
                f"the page {page.name!r} is {size:.1f} MB, more than 2 MB, though its figures are "
                "stored as small as they go. Lower `max_rows` of its tables or drop figures."
            )
        largest = max(candidates, key=lambda name: len(images[name]))
        saving[largest] += 1
        smaller = embedded(largest, saving[largest])
        images[largest] = min(smaller, images[largest], key=len)
    return _PLACEHOLDER.sub(lambda match: images[match[1]], text)


def _render(page: PreparedPage) -> str:
    """The page with a placeholder for each image."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("vaeaudit.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates = files("vaeaudit.report") / "templates"
    style = (templates / "page.css").read_text(encoding="utf-8")
    script = (templates / "page.js").read_text(encoding="utf-8")
    environment.filters["inline"] = inline
    environment.filters["display_math"] = lambda latex: Markup(to_mathml(latex, display=True))  # noqa: S704
    environment.filters["wrappable"] = wrappable
    environment.filters["paragraphs"] = paragraphs
    environment.tests.update(_tests())
    text = environment.get_template("page.html").render(
        page=page,
        levels=LEVELS,
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return text.replace("<style>", f"<style>{font_face(text)}", 1)


def _tests() -> dict[str, Callable[[object], bool]]:
    return {
        "text_block": lambda b: isinstance(b, Text),
        "math_block": lambda b: isinstance(b, Math),
        "table_block": lambda b: isinstance(b, PreparedTable),
        "figure_block": lambda b: isinstance(b, PreparedFigure),
    }


def inline(text: str) -> Markup:
    """Inline markup as HTML; everything that is not markup is escaped."""
    from markupsafe import Markup, escape

    parts = []
    for kind, value in spans(text):
        if kind == "math":
            parts.append(Markup(to_mathml(value)))  # noqa: S704
        elif kind == "strong":
            parts.append(Markup("<strong>{}</strong>").format(value))
        elif kind == "code":
            parts.append(Markup("<code>{}</code>").format(value))
        else:
            parts.append(escape(value))
    return Markup("").join(parts)


def wrappable(name: str) -> Markup:
    """A code name that may break after its underscores."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _uri(kind: str, content: bytes) -> str:
    if kind == "svg+xml":  # shorter than base64
        return f"data:image/svg+xml,{quote(content, safe=_URI_SAFE)}"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _palette(image: Any, colours: int, share: float) -> bytes:
    """A picture with fewer colours and pixels."""
    from PIL import Image

    if share < 1:
        image = image.resize((max(int(image.width * share), 1), max(int(image.height * share), 1)))
    return _png(image.quantize(colours, method=Image.Quantize.FASTOCTREE))


def _picture(figure: PreparedFigure) -> Any:
    """A figure's pixels (RGBA) for embedding."""
    from PIL import Image

    return (
        Image.open(io.BytesIO(figure.png)).convert("RGBA") if figure.pictorial else without_white(figure.png)
    )


def without_white(png: bytes) -> Any:
    """A picture drawn on white, with the white taken out: on white ground it looks the same."""
    import numpy as np
    from PIL import Image

    colour = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255.0
    red, green, blue = colour[..., 0], colour[..., 1], colour[..., 2]
    # the most transparent that can be
    alpha = (1.0 - np.minimum(np.minimum(red, green), blue))[..., None]
    ink = 1.0 - (1.0 - colour) / np.where(alpha > 0, alpha, 1.0)
    pixels = np.concatenate([ink, alpha], axis=-1)
    return Image.fromarray(np.round(255 * pixels.clip(0, 1)).astype(np.uint8), "RGBA")


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


_SAVINGS = ((256, 1.0), (128, 0.7), (64, 0.5))  # colours, share of the pixels per side
