"""Pieces of a self-contained HTML page."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("report.css")


def make_page(title: str, sections: Mapping[str, str], header: str, footer: str) -> str:
    """A page that loads nothing from elsewhere.

    Args:
      sections: heading -> HTML; empty ones are left out.
      header, footer: HTML.
    """
    full = {name: content for name, content in sections.items() if content}
    anchors = {name: name.lower().replace(" ", "-") for name in full}
    links = "".join(f'<a href="#{anchors[name]}">{escape(name)}</a>' for name in full)
    body = "".join(
        f'<section><h2 id="{anchors[name]}">{escape(name)}</h2>{content}</section>\n'
        for name, content in full.items()
    )
    # "data:": pictures and audio. Nothing else is loaded, and no script runs.
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n"
        f"</head>\n<body>\n<header><h1>{escape(title)}</h1>{header}<nav>{links}</nav></header>\n"
        f"<main>\n{body}</main>\n<footer>{footer}</footer>\n</body>\n</html>\n"
    )


def data_uri(kind: str, content: bytes) -> str:
    """``data:`` URI of a file of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def image(png: bytes, alt: str) -> str:
    return f'<img src="{data_uri("image/png", png)}" alt="{escape(alt)}">'


def themed_image(light: bytes, dark: bytes, alt: str) -> str:
    """SVG in two versions, for light and dark pages."""
    light_uri, dark_uri = (data_uri("image/svg+xml", svg) for svg in (light, dark))
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark_uri}">'
    return f'<picture>{source}<img src="{light_uri}" alt="{escape(alt)}"></picture>'


def audio(flac: bytes) -> str:
    return f'<audio controls preload="none" src="{data_uri("audio/flac", flac)}"></audio>'


def grid(items: Iterable[str], kind: str = "") -> str:
    """Figures side by side as far as the page is wide enough."""
    content = "".join(f"<figure>{item}</figure>\n" for item in items)
    return f'<div class="grid {kind}">\n{content}</div>'


def facts(values: Iterable[tuple[str, str, str]]) -> str:
    """Boxes of (name, value, remark)."""
    boxes = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        + (f"<small>{escape(remark)}</small>" if remark else "")
        + "</dd></div>\n"
        for name, value, remark in values
    )
    return f'<dl class="facts">\n{boxes}</dl>'


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], kind: str = "") -> str:
    """Table of rows (heading, cells of HTML)."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>\n'
        for name, cells in rows
    )
    thead = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="scroll"><table class="{kind}">{thead}\n<tbody>{body}</tbody></table></div>'


def settings(title: str, values: Mapping[str, Any]) -> str:
    """Table of configuration values."""
    rows = [(name, [f"<code>{escape(plain(value))}</code>"]) for name, value in values.items()]
    return f"<section><h3>{escape(title)}</h3>{table((), rows, 'settings')}</section>"


def plain(value: Any) -> str:
    """A value as in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(plain, value))}]"
    return str(value)


def details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
