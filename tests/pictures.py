"""What every picture owes its reader, wherever it is drawn, and runs to be drawn."""

import dataclasses
import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from experiments.storage import config_file


def write_run(folder, config, metrics):
    """Writes the folder of a run with these columns, float [points, seeds] each, of which NaN is not measured."""
    num_points, num_seeds = next(iter(metrics.values())).shape
    steps, seeds = np.mgrid[1 : num_points + 1, :num_seeds]
    columns = {"env_steps": 100_000 * steps, "seed": seeds, **metrics}
    rows = zip(*(column.ravel().tolist() for column in columns.values()), strict=True)
    lines = [",".join("" if value != value else str(value) for value in row) for row in rows]
    folder.mkdir()
    (folder / "metrics.csv").write_text("\n".join([",".join(columns), *lines, ""]))
    config_file.save(dataclasses.replace(config, num_seeds=num_seeds), folder / "config.json")
    return folder


def check_readable(figure: Figure) -> None:
    """In a column of 700 pixels, 96 an inch: no letter is small, no two texts overlap, and none leaves the picture."""
    scale = 700 / 96 / figure.get_figwidth()
    figure.draw_without_rendering()
    boxes = []
    for text in _shown(figure):
        assert text.get_fontsize() * scale >= 9.0, text
        box = text.get_window_extent().padded(-1.0)
        assert Bbox.intersection(box, figure.bbox).bounds == box.bounds, text
        boxes.append((text, box))
    for (text, box), (other, its) in itertools.combinations(boxes, 2):
        assert not box.overlaps(its), (text, other)


def _shown(figure: Figure) -> list[Text]:
    outside = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low <= tick.get_loc() <= high:
                outside |= {tick.label1, tick.label2}
    texts = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [text for text in texts if text.get_text().strip() and text not in outside]
