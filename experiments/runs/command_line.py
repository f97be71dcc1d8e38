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
    of `main`'s file and the flags that the file names in `MOST_USED`, `--helpfull` all flags.

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
    most_used = getattr(sys.modules[main.__module__], "MOST_USED", ())
    flags.DEFINE_bool("help", False, "show the most used flags", **where)
    flags.DEFINE_bool("helpfull", False, "show all flags", **where)

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
        if values.help or values.helpfull:
            print(f"{sys.modules[main.__module__].__doc__}\n{help_of(values, most_used, values.helpfull)}")
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


def help_of(values: flags.FlagValues, most_used: Sequence[str] = (), full: bool = True) -> str:
    """Lists a command's flags: the most used, then, in full, the others in their `groups`."""
    shown = {"Used most": [values[name] for name in most_used]} if most_used else {}
    if full or not most_used:
        shown |= groups(values, most_used)
    lines = []
    for heading, described in shown.items():
        lines += ["", f"{heading}:"]
        for flag in described:
            several = isinstance(flag.default, list)
            default = (",".join(flag.default or ()) if several else flag.default_as_str or "").strip("'")
            text = f"--{'[no]' if flag.boolean else ''}{flag.name}: {flag.help}{default and f' (default {default})'}"
            lines.append(flags.text_wrap(text, indent=" " * 6, firstline_indent="  "))
    others = len(list(values)) - sum(map(len, shown.values()))
    return "\n".join([*lines, *(["", f"--helpfull shows {others} more."] if others else [])])


def groups(values: flags.FlagValues, without: Sequence[str] = ()) -> dict[str, list[flags.Flag]]:
    """Returns a command's flags by what one wants to set: what is the command's own first, then as `Group` has it.

    absl groups flags by the module that defines them; here a group's heading is in the module's place.
    """
    by_heading, shared = values.flags_by_module_dict(), [str(group) for group in Group]
    ordered = sorted(by_heading, key=lambda heading: shared.index(heading) if heading in shared else -1)
    kept = {heading: [flag for flag in by_heading[heading] if flag.name not in without] for heading in ordered}
    return {heading: described for heading, described in kept.items() if described}


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
