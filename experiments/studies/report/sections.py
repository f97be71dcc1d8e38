"""What the page says of each part: what was run, how it ended, and what is drawn of it."""

import contextlib
import json
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.config.ranges import UsageError
from experiments.config.settings import by_flag
from experiments.config.titles import environment_title
from experiments.figures import outcome, plots
from experiments.figures.tables import INTERVALS_NOTE, as_json, cell
from experiments.storage.files import read_text
from experiments.storage.folder import folder_name
from experiments.storage.metrics import dropped_seeds, of_survivors, read_metrics
from experiments.studies import comparison
from experiments.studies.play import players
from experiments.studies.report import curves, replays
from experiments.studies.report.contents import Part, Runs, Search, Study
from experiments.studies.report.markup import details, listing, paragraph, printed, table
from experiments.studies.search import report as search_report
from experiments.studies.search import searching
from experiments.studies.variance import study, text
from metagrad import statistics

BEST = 8
"""Settings of a search that are shown at once; all others have to be asked for."""


class Section(NamedTuple):
    """A part of the page.

    Attributes:
      title: of the part.
      body: HTML, what there is to read.
      curves: as `curves.describe` returns them; None without any.
      replays: as `replays.replay` returns them.
      pictures: PNGs by what they are called.
    """

    title: str
    body: str
    curves: dict[str, Any] | None = None
    replays: tuple[dict[str, Any], ...] = ()
    pictures: Mapping[str, bytes] = {}


def describe(part: Part, named: Collection[str], max_steps: int) -> Section:
    """Returns the section of a part.

    Args:
      part: what it is of.
      named: code of their own that the user names, environments and agents.
      max_steps: of a replay.

    Raises:
      UsageError: if nothing of it can be read.
    """
    if isinstance(part, Study):
        return _of_study(part.folder)
    return _of_search(part.folder) if isinstance(part, Search) else _of_runs(part, named, max_steps)


def _of_runs(part: Runs, named: Collection[str], max_steps: int) -> Section:
    single = list(part.configs) == [part.folder]
    runs, problems = {}, list(part.unreadable)
    for folder in part.configs:
        try:
            (runs["" if single else folder_name(folder)],) = plots.read_runs([folder])
        except UsageError as error:
            problems.append(f"{error.of_flags()}.")
    if not runs:
        raise UsageError(problems[0].rstrip("."))
    labelled = dict(zip(runs, curves.label(runs), strict=True))
    names = {"" if single else folder_name(folder): folder for folder in part.configs}
    shown, unshown = [], []
    for name, run in labelled.items():
        try:
            shown.append(replays.replay(players.Run(names[name], run.config), run.label, named, max_steps))
        except UsageError as error:
            unshown.append(f"No replay of {run.label}: {error.of_flags()}.")
    rows = [_row(run, names[name]) for name, run in labelled.items()]
    sentences: list[str] = []
    try:
        sentences = _sentences(part, runs)
    except UsageError as error:
        problems.append(f"{error.of_flags()}.")
    configs = part.configs.values()
    batches = {f", {each.num_envs} environments × {each.rollout_length} steps a rollout" for each in configs}
    body = [
        paragraph(f"{environment_title(next(iter(configs)))}{batches.pop() if len(batches) == 1 else ''}."),
        listing(sentences),
        table(
            ["run", "folder", "how it ended", "seeds", "return, last tenth", "tuned: start → median end (range)"], rows
        ),
        paragraph(INTERVALS_NOTE),
        listing(problems + unshown),
        details("Settings", _settings(labelled)),
    ]
    return Section(
        "Run" if len(runs) == 1 else "Runs", "".join(body), curves.describe(list(labelled.values())), tuple(shown)
    )


def _row(run: plots.Run, folder: pathlib.Path) -> list[str]:
    """Says of a run how it ended, by its metrics with the seeds that were dropped."""
    config, metrics = run.config, read_metrics(folder)
    reached, returns, dropped = int(metrics["env_steps"][-1, 0]), outcome.final_returns(metrics), dropped_seeds(metrics)
    ended = f"complete, {reached:,} steps"
    if reached < config.num_env_steps:
        ended = f"unfinished: {reached:,} of {config.num_env_steps:,} steps ({reached / config.num_env_steps:.0%})"
    seeds = f"{config.seed} to {config.seed + config.num_seeds - 1}" if config.num_seeds > 1 else f"{config.seed}"
    for why, left_out in {"dropped": dropped, "without a last return": np.isnan(returns) & ~dropped}.items():
        seeds += (
            f"; {why}: {', '.join(f'{seed:.0f}' for seed in metrics['seed'][0][left_out])}" if left_out.any() else ""
        )
    tuned = []
    for name in outcome.tuned(metrics):
        ends = of_survivors(metrics)[f"hyper/{name}"][-1]
        if ends.size:
            span = f" ({ends.min():.4g} to {ends.max():.4g})" if ends.size > 1 else ""
            start = config.hyperparameters().get(name)
            tuned.append(f"{name}{'' if start is None else f' {start:.4g}'} → {np.median(ends):.4g}{span}")
    final = cell(as_json(statistics.mean(returns)))
    return [run.label, folder_name(folder), ended, seeds, final, "; ".join(tuned) or "-"]


def _sentences(part: Runs, runs: Mapping[str, plots.Run]) -> list[str]:
    """Says what came of a comparison, if this is a complete one that no run has gone beyond."""
    file = part.folder / comparison.COMPARISON
    if not file.exists():
        return []
    with _told(file, "comparison"):
        compared = json.loads(read_text(file))
        configs = {name: runs[name].config for name in compared["estimators"] if name in runs}
        if any(runs[name].metrics["env_steps"][-1, 0] != compared["env_steps"] for name in configs):
            return []
        return outcome.sentences(configs, compared).splitlines()


def _settings(runs: Mapping[str, plots.Run]) -> str:
    """Lists all settings, one for all runs where they agree."""
    flags = [by_flag(run.config) for run in runs.values()]
    rows = []
    for name in flags[0]:
        values = [",".join(each[name]) if isinstance(each[name], tuple) else str(each[name]) for each in flags]
        rows.append([name, *(values[:1] if len(set(values)) == 1 else [" / ".join(values)])])
    return table(["flag", " / ".join(run.label for run in runs.values())], rows)


def _of_study(folder: pathlib.Path) -> Section:
    title, file = "Variance study", folder / study.RESULTS
    if not file.exists():
        return Section(title, paragraph("The study has not ended; the same command goes on with it."))
    with _told(file, "study"):
        results = json.loads(read_text(file))
        summary = results["summary"]
        about = f"Problem: {results['problem']}; horizons to {results['horizon']}; {results['num_samples']:,} windows."
        body = [
            paragraph(about),
            paragraph(summary["question"]),
            listing(answer["in_words"] for answer in summary["answers"].values()),
            paragraph(summary["meaning"]),
            details("Signals and ratios", printed(text.describe(results))),
        ]
    drawn = {"How much less variance": "variance", "Details": "variance_details", "Signs": "truth"}
    return Section(title, "".join(body), pictures=_pictures(folder, drawn))


def _of_search(folder: pathlib.Path) -> Section:
    title, file = "Search", folder / searching.RESULTS
    if not file.exists():
        return Section(title, paragraph("The search has not ended; the same command goes on with it."))
    with _told(file, "search"):
        results = json.loads(read_text(file))
        header, rows = search_report.rows_of(results)
        told = "The best setting is not confirmed yet."
        if results["best"]:
            told = search_report.confirmation(results)
        elif all(setting["return"]["estimate"] is None for setting in results["settings"]):
            told = "No setting has a return."
    body = listing(told.splitlines()) + table(header, rows[:BEST], numbers=True) + paragraph(INTERVALS_NOTE)
    if rows[BEST:]:
        body += details(f"The other {len(rows) - BEST} {header[0]}s", table(header, rows[BEST:], numbers=True))
    return Section(title, body, pictures=_pictures(folder, {"What was tried, and its returns": "search"}))


def _pictures(folder: pathlib.Path, names: Mapping[str, str]) -> dict[str, bytes]:
    """Reads those of a folder's PNGs that are there."""
    files = {title: folder / f"{name}.png" for title, name in names.items()}
    return {title: file.read_bytes() for title, file in files.items() if file.exists()}


@contextlib.contextmanager
def _told(file: pathlib.Path, kind: str) -> Iterator[None]:
    """Tells in one line that a file is not what it should be."""
    try:
        yield
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{file}: does not hold the results of a {kind} ({type(error).__name__}: {error})") from error
