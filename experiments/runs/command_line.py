"""How every command starts and ends: its flags are parsed, and what is wrong is told in one line."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from experiments.config.ranges import StoppedError, UsageError
from experiments.config.settings import Group
from experiments.runs import compilation, devices


def run(
    main: Callable[[flags.FlagValues], None],
    values: flags.FlagValues,
    stopped: str = "what was written before is on disk",
) -> None:
    """Runs a command: parses the flags, and turns a `UsageError` into one line and exit status 2.

    A `StoppedError` is one line and status 1. Ctrl-C ends it in one line as well, with status 130: any
    `KeyboardInterrupt` does, with 128 plus the number of the signal where it is given one. `--help` shows the docstring
    of `main`'s file and the flags.

    Args:
      main: what to run, given the flags.
      values: the command's flags, not parsed yet.
      stopped: what to say after Ctrl-C.
    """
    where: dict[str, Any] = {"flag_values": values, "module_name": Group.EXECUTION}
    flags.DEFINE_string(
        "compilation_cache",
        None,
        f"folder that keeps compiled programs from one run to the next, or {compilation.OFF}; by default what "
        "JAX_COMPILATION_CACHE_DIR says, else the user's cache folder",
        **where,
    )
    flags.DEFINE_bool("help", False, "show this help", **where)

    def parse(arguments: Sequence[str]) -> list[str]:
        try:
            remaining = values(arguments)
            flags.FLAGS.mark_as_parsed()  # absl insists, though the command's flags are others
        except flags.Error as error:
            _exit_with(str(error))
        if len(remaining) > 1:
            _exit_with(f"{remaining[1]}: is not a flag; flags are given as --name=value")
        return remaining

    def guarded(_: Sequence[str]) -> None:
        if values.help:
            print(f"{sys.modules[main.__module__].__doc__}\n{help_of(values)}")
            return
        logging.set_verbosity(logging.FATAL)  # orbax tells the story of every file, and of errors besides raising them
        compilation.keep_programs(values.compilation_cache)
        devices.use_all_cores()
        try:
            main(values)
        except UsageError as error:
            _exit_with(error.of_flags())
        except StoppedError as error:
            sys.exit(error.of_flags())
        except KeyboardInterrupt as interrupt:
            print(f"\nstopped; {stopped}", file=sys.stderr, flush=True)
            # At once: threads that still compile would crash in an interpreter that takes itself apart.
            os._exit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT))

    with _printing():
        app.run(guarded, flags_parser=parse)


def help_of(values: flags.FlagValues) -> str:
    """Lists a command's flags by what one wants to set: what is the command's own first, then in the order of `Group`.

    absl groups flags by the module that defines them; here a group's heading is in the module's place.
    """
    groups, lines = values.flags_by_module_dict(), []
    shared = [str(group) for group in Group]
    for group in sorted(groups, key=lambda group: shared.index(group) if group in shared else -1):
        lines += ["", f"{group}:"]
        for flag in groups[group]:
            default = (flag.default_as_str or "").strip("'")
            text = f"--{'[no]' if flag.boolean else ''}{flag.name}: {flag.help}{default and f' (default {default})'}"
            lines.append(flags.text_wrap(text, indent=" " * 6, firstline_indent="  "))
    return "\n".join(lines)


def _exit_with(line: str) -> NoReturn:
    print(" ".join(line.split()), file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def _printing() -> Iterator[None]:
    """Lets a command print anything; letters that standard output does not have become question marks.

    Raises:
      SystemExit: if nobody reads standard output any more, as behind `| head`, with the status of the signal that means
        so; with a line if it has no room.
    """
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        try:
            print(flush=True)  # fails as well if it was this that failed
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
            closed = isinstance(error, BrokenPipeError)
            sys.exit(128 + signal.SIGPIPE if closed else f"the output cannot be written ({error.strerror})")
        raise
