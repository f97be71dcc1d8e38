"""The API reference of a package, from the docstrings of all its modules: `.. package:: metagrad`.

Docstrings are Google's, with names and code in single backticks and equations indented; both become reStructuredText.
"""

import importlib
import pkgutil
import re
from typing import Any

import chex
import optax
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")
BACKTICKS = re.compile(r"(?<!`)`([^`]+)`(?!`)")
NAME = re.compile(r"[\w.]+")
LONE_STAR = re.compile(r"(?<=[ \[(])\*(?=[\w\]])(?!\w[^*]*\*)")

UNIONS = {"ArrayTree": chex.ArrayTree, "OptState": optax.OptState, "Numeric": chex.Numeric, "Array": chex.Array}
SHORT = {
    stringify_annotation(union, mode): name for name, union in UNIONS.items() for mode in ("smart", "fully-qualified")
}
"""What signatures call types that are long unions."""


class Package(SphinxDirective):
    """Documents the modules of a package, each in a section; modules without public members are left out."""

    required_arguments = 1
    option_spec = {"without": str.split}  # noqa: RUF012 (docutils wants a dictionary here)

    def run(self) -> list[nodes.Node]:
        """Returns the sections."""
        package = importlib.import_module(self.arguments[0])
        lines = []
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
            if not module.ispkg and module.name not in self.options.get("without", []):
                name = f"{package.__name__}.{module.name}"
                lines += [name, "-" * len(name), "", f".. automodule:: {name}", ""]
        text = StringList(lines, source=self.get_source_info()[0])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _code(match: re.Match) -> str:
    return match[0] if NAME.fullmatch(match[1]) else f"``{' '.join(match[1].split())}``"


def _plain_text_to_rest(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Makes literal blocks of equations and code of backticked text that is no name, before napoleon runs.

    What a function returns is a sentence, in which napoleon would take what is before a colon for a type.
    """
    result: list[str] = []
    section, in_equation = "", False
    for line in lines:
        if SECTION.match(line):
            section = line
        if section == "Returns:" and line.strip():
            result.append(":returns:" if line == section else f"   {line.strip()}")
            continue
        if line.strip():
            begins = line.startswith("    ") and not section
            if begins and not in_equation:
                result += ["::", ""]
            in_equation = begins
        result.append(line)
    text = LONE_STAR.sub(r"\*", "\n".join(result))
    lines[:] = BACKTICKS.sub(_code, text).split("\n")


def _sentences_of_data(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Keeps napoleon from taking what is before a colon for the type of a constant: it never sees the sentences."""
    kept = app.env.temp_data.setdefault("sentences of data", {})
    if what in ("attribute", "data", "property"):
        if name in kept:
            lines[:] = kept.pop(name)
        else:
            kept[name], lines[:] = list(lines), [""]


def _short_types(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    def shorten(text: str | None) -> str | None:
        for union, short in sorted(SHORT.items(), key=lambda pair: -len(pair[0])):
            text = text and text.replace(union, short)
        return text

    return shorten(signature), shorten(returned)


def _skip(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of named tuples, which the docstring of their class describes."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive, and what turns docstrings and signatures into what Sphinx reads."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.add_directive("package", Package)
    app.connect("autodoc-process-docstring", _plain_text_to_rest, priority=100)
    app.connect("autodoc-process-docstring", _sentences_of_data, priority=200)
    app.connect("autodoc-process-docstring", _sentences_of_data, priority=900)
    app.connect("autodoc-process-signature", _short_types)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
