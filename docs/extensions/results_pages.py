"""Brings the pages of `results/` into the site, and says at the top of each what one learns there and who needs it.

They are copied: by a symbolic link, their links to each other would lead out of the site.
"""

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

RESULTS = {
    "results/README": "what was measured, claim by claim. For readers who want the outcome.",
    "results/self_tuning": "whether tuning online gives better agents. For readers who doubt it, and for experimenters "
    "who look for settings to start from.",
    "results/published_game": "whether the published result comes out again. For researchers.",
    "results/board_12": "what is known of tuning on a larger board. For researchers.",
    "results/variance": "which way the estimators point, and how noisy they are. For researchers.",
    "results/estimators": "which of all estimators point the right way, and what they are worth on Snake. For "
    "researchers.",
    "results/discounting_chain": "when an outer loss without a critic of its own fails. For researchers.",
    "results/other_environments": "what tuning does on Catch and on Breakout. For readers who play no Snake.",
    "results/speed": "how fast training is, what bounds it, and what was tried. For experimenters, and for whoever "
    "wants it faster.",
    "results/reliability": "what a run survives, and how that is tested. For experimenters who train over night.",
}
"""By page; one that is new has no such line."""


SUFFIXES = (".md", ".png", ".gif", ".json")


def _copy(app: Sphinx) -> None:
    """Copies the pages with their pictures and data, but not the runs."""

    def ignore(folder: str, names: list[str]) -> list[str]:
        return [it for it in names if it == "config.json" or not (it.endswith(SUFFIXES) or Path(folder, it).is_dir())]

    copy = Path(app.srcdir, "results")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(copy.parents[1] / "results", copy, ignore=ignore)


def _say(app: Sphinx, page: str, source: list[str]) -> None:
    if page in RESULTS:
        title, _, rest = source[0].partition("\n")
        source[0] = f"{title}\n\n:::{{admonition}} On this page\nYou learn {RESULTS[page]}\n:::\n{rest}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Lets the pages be copied first, and the line be added as each is read."""
    app.connect("builder-inited", _copy)
    app.connect("source-read", _say)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
