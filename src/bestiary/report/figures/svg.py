"""A matplotlib Figure → SVG that lives inside an HTML page.

In: a Figure in the report's style. Out: an `<svg>` element as text. Owns no file.

Colours become CSS variables, so that the figure follows the page's theme; text stays text, in the page's font; ids
get a prefix, so that two figures on one page do not share a clipping path; nothing refers to anything outside.
"""

import io
import re
import warnings
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from bestiary.report.figures.style import CSS_VARIABLES, rc_settings

_COLOUR = re.compile("|".join(CSS_VARIABLES), re.IGNORECASE)
_FONT = re.compile(r"font(-\w+)?:[^;]*;?\s*")
_BOLD = re.compile(r"\b(bold|700)\b")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)px")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_HREFS = ("href", "{http://www.w3.org/1999/xlink}href")


def figure_svg(figure: Figure, *, name: str, alt: str) -> str:
    """Draw a figure as inline SVG.

    Args:
        figure: one of `plots`.
        name: letters, digits and hyphens, unique on the page; goes before every id.
        alt: what the figure shows, for readers who cannot see it.
    """
    stream = io.BytesIO()
    with mpl.rc_context({**rc_settings(), "svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's browser has the letters that matplotlib's own font lacks: here they are only measured.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure.savefig(stream, format="svg", metadata={"Date": None}, backend="svg")
    root = ElementTree.fromstring(stream.getvalue())  # noqa: S314 - written by matplotlib just above
    _clean(root, prefix=f"{name}-")
    width, height = root.get("viewBox", "0 0 1 1").split()[2:]
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", alt)
    root.set("style", f"aspect-ratio: {width} / {height}")
    return ElementTree.tostring(root, encoding="unicode")


def _clean(parent: ElementTree.Element, *, prefix: str) -> None:
    parent.tag = _plain(parent.tag)
    for child in list(parent):
        # The style element would apply to the whole page, the metadata names addresses.
        if _plain(child.tag) in ("metadata", "style"):
            parent.remove(child)
        else:
            _clean(child, prefix=prefix)
    for key, value in list(parent.attrib.items()):
        if key in _HREFS:
            del parent.attrib[key]
            parent.set("href", f"#{prefix}{value[1:]}" if value.startswith("#") else value)
        elif key == "id":
            parent.set(key, prefix + value)
        elif key == "style" or key in ("fill", "stroke"):
            parent.set(key, _themed(value, text=parent.tag == "text"))
        if (place := _REFERENCE.match(parent.get(key, ""))) is not None:
            parent.set(key, f"url(#{prefix}{place[1]})")


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _themed(style: str, *, text: bool) -> str:
    if text:
        # Matplotlib writes either `font: 9px 'DejaVu Sans'` or the parts; the page uses its own font.
        size = _SIZE.search(style)
        bold = "font-weight: bold; " if _BOLD.search(style) else ""
        kept = _FONT.sub("", style)
        style = f"{bold}{f'font-size: {size[1]}px; ' if size else ''}{kept}"
        if "fill:" not in style:
            style = f"fill: var(--ink); {style}"
    return _COLOUR.sub(lambda found: f"var({CSS_VARIABLES[found[0].lower()]})", style)
