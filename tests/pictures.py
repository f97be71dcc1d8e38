"""What every picture owes its reader, wherever it is drawn."""

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


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
