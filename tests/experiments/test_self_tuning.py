"""The figure and the numbers of self-tuning, from committed files."""

import pytest

from experiments.studies import self_tuning

PAGES = [self_tuning.RESULTS / f"{name}.md" for name in ("self_tuning", "published_game")]


TOLD = {
    # Where the mean return gets to 30 fruits to stay, and the last tenth, as the pages and the README tell them.
    "mixing(5), from 0.8": ("3.85 M", "31.8 [28.0, 35.7]"),
    "single-step, from 0.8": ("never", "28.5 [23.1, 33.9]"),
    "fixed at 0.8": ("never", "15.9 [15.8, 15.9]"),
    "mixing(5), our settings": ("6.14 M", "30.0 [25.8, 34.2]"),
    "single-step, our settings": ("never", "29.2 [25.3, 33.1]"),
    "fixed at 0.8, our settings": ("never", "13.4 [13.2, 13.6]"),
    "mixing(5), published settings, 5 × rate": ("never", "22.0 [9.4, 34.7]"),
    "single-step, published settings": ("23.45 M", "34.5 [34.2, 34.8]"),
    "single-step, own critic, published settings": ("never", "28.3 [17.1, 39.5]"),
    "fixed at 0.8, published settings": ("never", "17.1 [16.9, 17.3]"),
    "unmasked/single_step less unmasked/mixing": ("−0.7 [−4.9, 3.5]",),  # of runs of different lengths
    "as_published/single_step less as_published/own_critic": ("6.2 [−4.7, 17.1]", "8.7 [2.8, 14.6]"),
}


RUNS = {
    # By row of the pages, what the command calls the runs that its numbers are of.
    "single-step, outer critic": ("single-step, published settings", "published, single-step"),
    "single-step, own critic": ("single-step, own critic, published settings", "published, single-step, own critic"),
    "mixing(5), 5 × the meta-learning rate": ("mixing(5), published settings, 5 × rate",),
    "mixing(5)": ("mixing(5), our settings",),
    "single-step": ("single-step, our settings",),
}
FIXED = {
    "published settings": ("fixed at 0.8, published settings", "published, fixed at 0.8"),
    "our settings": ("fixed at 0.8, our settings",),
}

CHANGED = {
    # By row of the page, the folder of each of its columns; of agents fixed from the start, the first has no ablation.
    "nothing tuned": (None, "fixed"),
    "the discount alone tuned": ("discount", "discount"),
    "lambda alone tuned": (None, "lambda"),
    "the entropy cost alone tuned": ("entropy_cost", "entropy_cost"),
    "the learning rate tuned as well": (None, "learning_rate"),
    "geometric weights": (None, "geometric"),
    "the agent's own critic in the outer loss": ("own_critic", "own_critic"),
    "values in the targets held constant": ("stopped_targets", "stopped_targets"),
}


def _rows(text, of=""):
    """Returns the cells of each row below a header that has some words, in a text's tables."""
    rows, wanted = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            wanted = False
        elif not wanted:
            wanted = of in line
        elif not line.startswith("| ---"):
            rows.append([cell.strip(" *") for cell in line.split("|")[1:-1]])
    return rows


def _on_the_pages(of):
    return _rows("\n\n".join(page.read_text() for page in PAGES), of)


@pytest.fixture(scope="module")
def tables():
    return "\n\n".join(self_tuning.tables())


@pytest.fixture(scope="module")
def printed(tables):
    return _rows(tables)


@pytest.mark.parametrize("settings", FIXED)
def test_the_pages_returns_are_what_is_printed(settings, printed):
    rows = _on_the_pages(f"| {settings}, ")
    assert len(rows) in (3, 4)
    for label, *cells in rows:
        names = FIXED[settings] if label == "fixed at 0.8" else RUNS[label]
        told = {cell for line in printed if line[0] in names for cell in line}
        assert {cell.partition(" of ")[0] for cell in cells if cell} <= told, label


def test_the_pages_ablations_are_what_is_printed(tables):
    rows = _on_the_pages("less that of")
    assert [label for label, *_ in rows] == list(CHANGED)
    columns = [_rows(part) for part in tables.split("start_bad/ablations/")[1:]]
    for label, *cells in rows:
        for name, cell, column in zip(CHANGED[label], cells, columns, strict=True):
            if name is not None:
                assert next(line for line in column if line[0] == name)[2] == cell
    assert any(line[0] == "none" and rows[0][1] in line for line in _rows(tables))


def _within(cells, line):
    rest = iter(line)
    return all(cell in rest for cell in cells)


@pytest.mark.parametrize("label", TOLD)
def test_the_pages_numbers_are_what_is_printed(label, printed):
    (line,) = (line for line in printed if line[0] == label)
    assert _within(TOLD[label], line)


def test_the_figure_is_drawn_from_what_is_committed(figures, tmp_path):
    self_tuning.draw(tmp_path / "picture.png")
    (figure,) = figures
    labels = [" ".join(text.get_text().split()) for row in figure.subfigs for text in row.legends[0].get_texts()]
    assert labels == [label for lines in self_tuning.GAMES.values() for label in lines]
