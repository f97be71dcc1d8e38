"""Pieces of HTML, in which texts are shown as they are, whatever letters they have."""

import html
from collections.abc import Iterable, Sequence


def paragraph(text: str) -> str:
    """Returns a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def listing(texts: Iterable[str]) -> str:
    """Returns a list, or nothing where there are no texts."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> str:
    """Returns a table, which scrolls where it is wider than the page; cells with `numbers` alone are not broken."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    kind = ' class="numbers"' if numbers else ""
    return f'<div class="wide"><table{kind}><thead>{row(header, "th")}</thead><tbody>{body}</tbody></table></div>'


def printed(text: str) -> str:
    """Returns what a terminal shows."""
    return f'<pre class="wide">{html.escape(text)}</pre>'


def details(summary: str, content: str) -> str:
    """Returns what is shown only once it is asked for."""
    return f"<details><summary>{html.escape(summary)}</summary>{content}</details>"
