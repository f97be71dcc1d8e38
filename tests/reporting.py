"""What the tests of reports share: small runs, and pages opened again."""

import json
import re

import numpy as np
from pictures import write_run

from experiments.config.settings import Config

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
RUN = {"meta_params": ("discount",), "num_env_steps": 400_000}
NONE = np.nan


def data_of(page):
    """Returns what the page's program is given, a dictionary a section."""
    (found,) = DATA.findall(page)
    return json.loads(found)


def text_of(page):
    """Returns what there is to read on a page, without its scripts and tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def write_comparison(folder, steps=4):
    """Writes two runs without checkpoints; the second seed of the one that tunes was dropped after two points."""
    folder.mkdir(exist_ok=True)
    returns = np.arange(12.0).reshape(4, 3) ** 1.5
    write_run(folder / "none", Config(**RUN).with_estimator("none"), {"episode_return": returns[:steps]})
    lost = np.array([[1.0, 1.0, 1.0]] * 2 + [[1.0, NONE, 1.0]] * 2)
    tuning = {
        "episode_return": lost * returns[::-1],
        "hyper/discount": lost * np.linspace(0.6, 0.95, 12).reshape(4, 3),
        "meta_grad/discount": lost * np.linspace(-0.1, 0.2, 12).reshape(4, 3) ** 2,
    }
    tuning = {name: values[:steps] for name, values in tuning.items()}
    write_run(folder / "mixing", Config(estimator="mixing", **RUN), tuning)
    return folder
