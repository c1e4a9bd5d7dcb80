"""Sections to one HTML file."""

import contextlib
import dataclasses
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from qlrjax import caches, files

Spec = dict[str, Any]
# What a page may do is said in it, so that nothing can be fetched even by mistake.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval'"
)
# What every report begins with, so that a later one knows what it may replace.
START = """<!doctype html>
<html lang="en">
<head>
<meta name="generator" content="qlrjax report">"""
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_VERSION = "6.4"
_BUNDLE_AT_MOST = 2**26
_CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **{f"{part}Color": "currentColor" for part in ("label", "title", "tick", "domain", "grid")},
        "gridOpacity": 0.15,
    },
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor", "symbolLimit": 60},
    "header": {"labelColor": "currentColor", "titleColor": "currentColor"},
    "title": {"color": "currentColor"},
    "text": {"color": "currentColor"},
    "range": {
        "category": ["#3b82c4", "#d0633e", "#57a05a", "#9b74c8", "#c9a227", "#4bb3b0", "#c6558a"]
    },
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """One interactive figure.

    Attributes:
        name: Of its place in the page; a word.
        title: What it shows.
        says: What to know of it: units, measured or simulated, on what.
        spec: Vega-Lite, without what all figures share.
    """

    name: str
    title: str
    says: str
    spec: Spec


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading with figures, and with HTML that is ready.

    Attributes:
        title: The heading.
        figures: Side by side.
        body: HTML, below the figures.
    """

    title: str
    figures: tuple[Figure, ...] = ()
    body: str = ""


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole file.

    Args:
        title: Of the page.
        lead: One sentence below it.
        sections: In order.

    Raises:
        ValueError: Vega is not installed, or a figure cannot be drawn.
    """
    specs: dict[str, Spec] = {}
    parts = []
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts.append("<main>")
        for figure in section.figures:
            specs[figure.name] = shared(figure.spec)
            parts.append(_figure(figure, still(specs[figure.name], figure.name)))
        parts.append("</main>")
        parts.append(section.body)
    return f"""{START}
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>
{_own("page.css")}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p class="lead">{html.escape(lead)}</p>
{chr(10).join(parts)}
<script type="application/json" id="specs">{_embedded(specs)}</script>
<script>{bundle()}</script>
<script>
{_own("page.js")}</script>
</body>
</html>
"""


def shared(spec: Spec) -> Spec:
    """A specification with what all figures share."""
    return {"$schema": _SCHEMA, "config": _CONFIG, **spec}


def still(spec: Spec, name: str) -> str:
    """The figure as SVG, for where JavaScript is off.

    Raises:
        ValueError: It cannot be drawn.
    """
    vega = _vega()
    try:
        return vega.vegalite_to_svg(spec, vl_version=_VERSION)
    except Exception as error:  # whatever its JavaScript throws
        raise ValueError(f"the figure {name!r} cannot be drawn: {error}") from error


def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, kept in the user's cache folder."""
    vega = _vega()
    folder = caches.folder("vega")
    path = folder / f"bundle-{metadata.version('vl-convert-python')}.js" if folder else None
    kept = _kept(path) if path is not None else None
    if kept is not None:
        return kept
    # A script inside HTML ends at the first such tag, wherever in it.
    text = vega.javascript_bundle(vl_version=_VERSION).replace("</script", r"<\/script")
    if path is not None:
        with contextlib.suppress(OSError):
            files.write_atomic(path, f"{_digest(text)}\n{text}")
    return text


def _kept(path: Path) -> str | None:
    """The script below its SHA-256; None where it is not there, or damaged."""
    try:
        noted, _, text = files.read(path, _BUNDLE_AT_MOST).decode().partition("\n")
    except (OSError, ValueError):
        return None
    return text if noted == _digest(text) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An HTML table; the first column is names."""
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def text(content: str) -> str:
    """Text as it is, line by line."""
    return f"<pre>{html.escape(content)}</pre>"


def facts(values: Mapping[str, object]) -> str:
    """A table of names and values."""
    return table(("", ""), [(name, value) for name, value in values.items()])


def _figure(figure: Figure, svg: str) -> str:
    return (
        f'<figure data-figure="{html.escape(figure.name)}">'
        f"<figcaption><b>{html.escape(figure.title)}</b>{html.escape(figure.says)}</figcaption>"
        f'<div class="chart"></div><noscript>{svg}</noscript></figure>'
    )


def _embedded(value: object) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _own(name: str) -> str:
    return resources.files("qlrjax.lab.page").joinpath(name).read_text(encoding="utf-8")


def _vega() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise ValueError(
            "a report needs vl-convert-python, which is not installed; "
            "install it with: pip install 'qlrjax[report]'"
        ) from error
    return vl_convert
