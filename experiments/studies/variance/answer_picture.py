"""The picture that answers the study's question: how much less variance does mixing have?"""

import pathlib

from experiments.figures import styles
from experiments.studies.variance import panels
from experiments.studies.variance.analysis import TOTAL, Json
from experiments.studies.variance.summary import NOT_DETERMINED, title


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `variance.png` from the content of `variance.json`: by horizon, and as ratios at the longest one."""
    points = {title(name, point): point for name, point in results["points"].items()}
    explained = panels.legend(list(points))
    with styles.picture(picture, 2.8 + 0.35 * len(points) + 0.06 * len(explained)) as figure:
        variance, ratio = figure.subplots(1, 2)
        panels.variances(variance, [(point, TOTAL) for point in points.values()])
        variance.set_title("Variance of one window's gradient")
        rows = {
            name.replace(" after ", "\nafter "): (point["variance_ratio"][TOTAL], point["noise_ratio"][TOTAL])
            for name, point in points.items()
        }
        panels.ratios(ratio, rows, f"at equal scale: {NOT_DETERMINED}")
        ratio.set_title(panels.compared(results["horizon"]))
        about = f"On the {results['problem']} problem, {results['num_samples']:,} windows, all hyperparameters together"
        styles.title(figure, f"How much less variance does mixing have? {about}, bands and bars: 95% intervals")
        styles.legend(figure, list(explained.values()), list(explained))
