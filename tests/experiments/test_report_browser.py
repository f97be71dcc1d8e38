"""A report in a real browser, where there is one: replays move, the legend switches, and nothing is asked for."""

import shutil

import jax
import numpy as np
import pytest
from reporting import write_comparison

from envs.snake import Snake
from experiments.studies.report import frames, page, sections
from experiments.studies.report.contents import find

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `browser`")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"needs one of {', '.join(BROWSERS)}")

STEPS = 60
LINES = ".plot:nth-child({}) .scatterlayer .trace"
GAME = "document.querySelectorAll('.player canvas')[{}].toDataURL()"


def _replay(label, length):
    """Returns a replay of moves that nobody chose."""
    env, key = Snake(4, 4), jax.random.key(length)
    state, states = env.initial(key), []
    step = jax.jit(env.transition)
    for number in range(length + 1):
        states.append(jax.device_get(state))
        state = step(state, number % 4, jax.random.fold_in(key, number))
    return {
        "label": label,
        "about": "discount 0.9",
        "end": "the episode is over",
        "actions": ["↑", "→", "↓", "←"],
        "taken": [number % 4 for number in range(length + 1)],
        "probabilities": [[0.1, 0.2, 0.3, 0.4]] * (length + 1),
        "values": [float(number) for number in range(length + 1)],
        "returns": [float(number // 4) for number in range(length + 1)],
        **frames.pack(np.stack([env.render(state) for state in states])),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page of two runs."""
    folder = write_comparison(tmp_path_factory.mktemp("browser") / "comparison")
    (part,) = find(folder)
    section = sections.describe(part, None, 1)._replace(replays=(_replay("long", STEPS), _replay("short", 8)))
    (folder / "report.html").write_text(page.render("comparison", [section]))
    return folder / "report.html"


@pytest.fixture(params=[(1400, "light"), (420, "dark")], ids=["wide", "narrow"])
def opened(request, file):
    """The page in a browser, which may neither complain nor ask for anything."""
    width, scheme = request.param
    complaints, asked = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        tab.wait_for_selector("body[data-ready]")
        yield tab
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


def test_a_replay_moves_and_stops(opened):
    first, other = (opened.evaluate(GAME.format(player)) for player in (0, 1))
    counter = opened.locator(".controls output")
    assert counter.inner_text() == f"step 0 of {STEPS}"
    opened.get_by_role("combobox").select_option("32")
    opened.get_by_role("button", name="Play").click()
    playwright.expect(counter).to_have_text(f"step {STEPS} of {STEPS}")
    assert opened.evaluate(GAME.format(0)) != first
    assert opened.evaluate(GAME.format(1)) != other
    opened.get_by_role("button", name="Play").wait_for()  # not Pause any more
    assert "return 15 · value 60 · the episode is over" in opened.locator(".player").nth(0).inner_text()
    assert "return 2 · value 8 · the episode is over" in opened.locator(".player").nth(1).inner_text()


def test_the_slider_and_keys_go_back_and_forth_to_the_same_pictures(opened):
    slider = opened.get_by_role("slider")
    seen = {}
    for step in (3, 40, 41, 0, 40, 3, 24, 26, 24):
        slider.fill(str(step))
        picture = opened.evaluate(GAME.format(0))
        assert seen.setdefault(step, picture) == picture
    assert len(set(seen.values())) > 3
    slider.focus()
    opened.keyboard.press("ArrowRight")
    assert opened.locator(".controls output").inner_text() == f"step 25 of {STEPS}"
    opened.keyboard.press("Space")
    opened.get_by_role("button", name="Pause").wait_for()
    opened.keyboard.press("Space")
    opened.get_by_role("button", name="Play").wait_for()


def test_the_legend_switches_runs_and_seeds_in_all_panels(opened):
    entry = opened.locator(".entry").last

    def shown():
        return [opened.locator(LINES.format(panel)).count() for panel in (1, 2, 3)]

    assert shown() == [2 + 3 + 2, 2 + 3 + 2, 1]  # seeds and means; one run has a meta-gradient
    entry.get_by_label("0", exact=True).uncheck()
    assert shown() == [6, 6, 1]
    entry.get_by_role("checkbox").first.uncheck()
    assert shown() == [4, 4, 0]
    entry.get_by_role("checkbox").first.check()
    assert shown() == [6, 6, 1]


def test_curves_tell_their_numbers_and_can_be_zoomed(opened):
    plot = opened.locator(".plot").first
    plot.scroll_into_view_if_needed()
    box = plot.locator(".nsewdrag").bounding_box()
    left, right, middle = box["x"] + 0.3 * box["width"], box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"]
    opened.mouse.move(left, middle)
    hovered = plot.locator(".hoverlayer .hovertext")
    opened.evaluate("Plotly.Fx.hover(document.querySelector('.plot'), [{curveNumber: 3, pointNumber: 1}])")
    assert "mean of 3 seeds" in hovered.text_content()
    ticks = plot.locator(".xtick text")
    first = ticks.first.text_content()
    opened.mouse.move(left, box["y"] + 0.2 * box["height"])
    opened.mouse.down()
    opened.mouse.move(right, box["y"] + 0.8 * box["height"], steps=5)
    opened.mouse.up()
    playwright.expect(ticks.first).not_to_have_text(first)
