"""The flags of a command, from the command itself: `.. command:: train`.

They stand in the groups of `--helpfull`, after those of `--help`. With `:beside: train`, flags that mean the same in
another command are only named, as links to it.
"""

import importlib
import re
from typing import Any
from unittest import mock

from absl import app as absl_app
from absl import flags
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from experiments.runs import command_line


def flags_of(command: str) -> flags.FlagValues:
    """Returns all flags of a command, with those that every command gets when it is run."""
    module = importlib.import_module(f"experiments.{command}")
    values = module.define_flags()
    with mock.patch.object(absl_app, "run"):
        command_line.run(module.main, values)
    return values


def _written(flag: flags.Flag) -> str:
    return f"--{'[no]' if flag.boolean else ''}{flag.name}"


def _escaped(text: str) -> str:
    """Returns a help text as reStructuredText, in which flags are code."""
    parts = re.split(r"(--\w+(?:=\w+)?|[A-Z]+(?:\.[A-Z]+)*:[A-Z_]+)", text)
    return "".join(
        f"``{part}``" if number % 2 else re.sub(r"([\\*`|_])", r"\\\1", part) for number, part in enumerate(parts)
    )


def _described(flag: flags.Flag) -> str:
    listed = isinstance(flag.default, list)
    default = ",".join(flag.default) if listed else (flag.default_as_str or "").strip("'")
    meaning = re.sub(r"^<([^>]*)>: (.*)", lambda it: f"{it[2]}; one of {it[1].replace('|', ', ')}", flag.help)
    text = f".. option:: {_written(flag)}\n\n   {_escaped(meaning)}\n\n"
    return text + (f"   Default: ``{default}``\n\n" if default else "")


class Command(SphinxDirective):
    """Describes the flags of a command."""

    required_arguments = 1
    option_spec = {"beside": str}  # noqa: RUF012 (docutils wants a dictionary here)

    def run(self) -> list[nodes.Node]:
        """Returns the text, in sections."""
        command, beside = self.arguments[0], self.options.get("beside")
        values = flags_of(command)
        first = getattr(importlib.import_module(f"experiments.{command}"), "MOST_USED", ())
        elsewhere = flags_of(beside) if beside else {}
        sections = [self._section(command, "Used most", "".join(_described(values[name]) for name in first))]
        same = []
        for group, others in command_line.groups(values, first).items():
            shared = [it for it in others if it.name in elsewhere and it.help == elsewhere[it.name].help]
            same += [f":option:`{flag.name} <{beside} {_written(flag)}>`" for flag in shared]
            described = "".join(_described(flag) for flag in others if flag not in shared)
            sections.append(self._section(command, group, described))
        sections.append(self._section(command, f"As in {beside}", ", ".join(same)))
        return [section for section in sections if len(section) > 1]

    def _section(self, command: str, heading: str, text: str) -> nodes.section:
        """Returns a section, whose name is told from those of other commands; without text, its heading alone."""
        name = f"{command}: {heading}".lower()
        section = nodes.section("", nodes.title(heading, heading), ids=[nodes.make_id(name)], names=[name])
        lines = f".. program:: {command}\n\n{text}".split("\n")
        if text:
            section.extend(self.parse_text_to_nodes(StringList(lines, self.get_source_info()[0])))
        return section


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
