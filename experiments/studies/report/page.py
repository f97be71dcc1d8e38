"""One file of HTML that needs no other: the library that draws, the data and the pictures are in it."""

import base64
import gzip
import html
import json
import os
import pathlib
import string
from collections.abc import Sequence
from typing import Any

import plotly.offline

from experiments.config.ranges import UsageError, refuse
from experiments.storage.files import told, write_whole
from experiments.storage.folder import folder_name, local_path
from experiments.studies.report import contents, sections
from experiments.studies.report.frames import address
from experiments.studies.report.markup import listing
from experiments.studies.report.sections import Section

PAGE = "report.html"

MOST_BYTES = 6_000_000

HERE = pathlib.Path(__file__).parent

TOO_LARGE = f"left out, since the page would be larger than {MOST_BYTES // 1_000_000} MB"


def report(
    logdir: str | os.PathLike[str],
    environment: str | None = None,
    max_steps: int = 300,
    agent: str | None = None,
) -> pathlib.Path:
    """Writes the page of a folder, as `python -m experiments.report` does.

    Args:
      logdir: of a run, a comparison, a study, a search, or of such folders.
      environment: of runs in it, where it is your own code.
      max_steps: after which a replay ends, at least 1.
      agent: of runs in it, where it is your own code.

    Returns:
      The file.

    Raises:
      UsageError: if an argument is impossible, or there is nothing to report of.
      WriteError: if the file cannot be written.
    """
    parts = contents.find(logdir)
    configs = [config for part in parts if isinstance(part, contents.Runs) for config in part.configs.values()]
    for what, given in (("environment", environment), ("agent", agent)):
        theirs = {getattr(config, what) for config in configs}
        if given is not None and given not in theirs:
            refuse(what, given, f"that of a run in `logdir`: {', '.join(sorted(theirs)) or 'there is none'}")
    folder, described, problems = local_path("logdir", logdir), [], []
    for part in parts:
        try:
            section = sections.describe(part, {name for name in (environment, agent) if name}, max_steps)
            where = "" if part.folder == folder else f"{part.folder.relative_to(folder)}: "
            described.append(section._replace(title=f"{where}{section.title}"))
        except UsageError as error:
            problems.append(error)
    if not described:
        raise problems[0]
    if problems:
        described.append(Section("What cannot be read", listing(f"{error.of_flags()}." for error in problems)))
    text = render(folder_name(folder), described)
    with told(folder):
        write_whole(folder / PAGE, text)
    return folder / PAGE


def render(title: str, parts: Sequence[Section]) -> str:
    """Returns the page; replays and pictures that find no room in it are left out, which it says.

    Raises:
      UsageError: if it is too large even so.
    """
    library = base64.b64encode(gzip.compress(plotly.offline.get_plotlyjs().encode(), mtime=0)).decode()
    bare = _fill(title, [part._replace(replays=(), pictures={}) for part in parts], library)
    room = MOST_BYTES - len(bare.encode())
    if room < 0:
        refuse("logdir", title, f"of fewer runs: their page would be larger than {MOST_BYTES // 1_000_000} MB")
    fitting = []
    for part in parts:
        missing, pictures, replays = [], {}, []
        for name, picture in part.pictures.items():
            size = 2 * len(picture)
            if size < room:
                pictures[name], room = picture, room - size
            else:
                missing.append(f"The picture “{name}” is {TOO_LARGE}.")
        for replay in part.replays:
            size = len(json.dumps(replay)) + 1_000
            if size < room:
                replays.append(replay)
                room -= size
            else:
                missing.append(f"The replay of {replay['label']} is {TOO_LARGE}.")
        fitting.append(part._replace(body=part.body + listing(missing), pictures=pictures, replays=tuple(replays)))
    return _fill(title, fitting, library)


def _fill(title: str, parts: Sequence[Section], library: str) -> str:
    """Returns the page with all of these parts."""
    links = "".join(f'<a href="#part-{index}">{html.escape(part.title)}</a>' for index, part in enumerate(parts))
    return string.Template((HERE / "page.html").read_text("utf-8")).substitute(
        title=html.escape(title),
        links=f"<nav>{links}</nav>" if len(parts) > 1 else "",
        parts="\n".join(_section(index, part) for index, part in enumerate(parts)),
        data=_data([{"curves": part.curves, "replays": part.replays} for part in parts]),
        library=library,
        style=(HERE / "page.css").read_text("utf-8"),
        program=(HERE / "page.js").read_text("utf-8"),
    )


def _section(index: int, part: Section) -> str:
    """Returns the HTML of a part, with places for what the page's program draws."""
    places = "".join(
        f'<h3>{heading}</h3><div class="{kind}" data-part="{index}"></div>'
        for kind, heading, there in (
            ("replays", "Replays: the best seed of each run", part.replays),
            ("curves", "Curves", part.curves),
        )
        if there
    )
    pictures = "".join(
        f'<h3>{html.escape(name)}</h3><img src="{address(picture, "png")}" alt="{html.escape(name)}">'
        for name, picture in part.pictures.items()
    )
    return f'<section id="part-{index}"><h2>{html.escape(part.title)}</h2>{part.body}{places}{pictures}</section>'


def _data(content: Any) -> str:
    """Returns JSON that ends no script, whatever texts are in it."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
