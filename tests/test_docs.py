"""The site and the results: the site builds without a warning and needs nothing from elsewhere, and commands have flags
that there are.

Notebooks are executed by `make docs`.
"""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [it for it in ROOT.glob("docs/**/*.md") if not {"build", "results"} & set(it.relative_to(ROOT).parts[1:-1])]
TEXTS = [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("results/*.md")]

CODE = re.compile(r"^```.*?\n(.*?)^```$|(?<!`)`(python -m [^`]*)`", re.DOTALL | re.MULTILINE)
"""A block, or a command in a line."""
TELLS = """
PATH=
python() { printf '%s\\037' "$@"; echo; }
srun() { "${@:2}"; }
"""
"""Has a shell tell what it would run, with variables and lines put together; nothing else is found."""
LOADED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*\bhref="(?:https?:)?//')
"""What a browser would ask another machine for."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--define=nb_execution_mode=off"]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "--builder=html", ROOT / "docs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return place


def test_every_page_says_what_one_learns_and_asks_no_other_machine_for_anything(site):
    pages = [it for it in site.glob("**/*.html") if it.stem not in ("genindex", "py-modindex", "search")]
    assert len(pages) >= len(PAGES)
    for page in pages:
        html = page.read_text()
        assert "On this page" in html, page
        assert not LOADED.search(html), page
    for style in site.glob("_static/**/*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text()), style


def test_equations_flags_and_docstrings_are_there(site):
    assert "<math" in (site / "five_minutes.html").read_text()
    assert 'id="cmdoption-train-estimator"' in (site / "commands" / "train.html").read_text()
    assert 'id="metagrad.windows.meta_gradient"' in (site / "api" / "metagrad.html").read_text()


def test_every_command_has_a_page():
    commands = {it.stem for it in ROOT.glob("experiments/*.py")} - {"__init__"}
    assert {it.stem for it in ROOT.glob("docs/commands/*.md")} - {"index"} == commands


def test_every_command_in_a_text_has_flags_that_it_takes(tmp_path):
    commands = []
    for text in TEXTS:
        pieces = ["".join(found) for found in CODE.findall(text.read_text())]
        script = "\n".join([TELLS, *(piece for piece in pieces if "python -m" in piece)])
        told = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        found = [line.split("\037")[1:-1] for line in told.splitlines() if "experiments." in line]
        assert len(found) == text.read_text().count("python -m experiments."), text
        commands += found
    assert len(commands) > 50
    for name, *flags in commands:
        if name.count(".") == 1 and flags[:1] != ["--help"]:
            importlib.import_module(name).define_flags()([name, *flags])


def test_code_in_pages_is_executed():
    for page in PAGES:
        assert "```python" not in page.read_text(), page
