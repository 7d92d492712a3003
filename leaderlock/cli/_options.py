"""From the words of a command line to its options."""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from leaderlock._naming import check_name
from leaderlock.cli._talk import Talk, Usage

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = [
    "Options",
    "Parser",
    "add_name",
    "check_argv",
    "filled",
    "parse",
    "seconds",
    "wants_json",
]

COMMANDS: Final = {
    "run": "run a command while leading",
    "cron": "run a command once for each tick of a schedule, on one host",
    "history": "show how the last runs of a job ended",
    "pause": "let no tick of a job start",
    "resume": "let a paused job go on",
    "status": "show who leads, and since when",
    "watch": "show who leads, whenever that changes",
    "resign": "ask whoever leads to yield",
    "init": "declare that nobody leads here, so that nobody waits",
    "doctor": "examine the store, and say what holds there",
    "backends": "list the installed drivers and what their stores promise",
    "demo": "see three workers, a crash, a pause, and a write that is refused",
}

RUNNING: Final = ("run", "cron")
"""The commands that run a command, which stands behind ``--``."""

EPILOG: Final = """\
exit codes: the command's own, or 0; 1 doctor warns, the demo failed; 64 usage; 69 the store cannot be reached or used;
70 leaderlock failed; 74 stdout cannot be written; 75 not elected; 76 the lease was lost; 128+n ended by signal n

examples:
  export LEADERLOCK_URL=sqlite:        # the processes of one host; redis://…, zk://… or etcd://… for several
  leaderlock run nightly-report -- ./report.sh
  leaderlock cron nightly-report "0 3 * * *" -- ./report.sh
  leaderlock status
  leaderlock demo

`leaderlock COMMAND --help` says more."""


class Options(argparse.Namespace):
    """What was asked for; the options that all commands share, and each command's own beside them."""

    command: Callable[[Options, Talk], int]
    url: str | None = None
    ttl: float | None = None
    longest: float = 30.0
    namespace: str | None = None
    json: bool = False
    argv: list[str]
    """What came behind ``--``."""


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Of a fixed width: to measure the terminal, argparse imports more than all of this package's command line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=110)


class Parser(argparse.ArgumentParser):
    """Wrong usage is exit code 64, so that 2 stays the command's own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Layout, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise Usage(message, form=self.format_usage())

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        if file is not None:
            super().print_help(file)
            return
        _show(self.format_help())


def wants_json(words: list[str]) -> bool:
    """Whether to talk to a machine, asked before all else: so must be what is wrong with the other options."""
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def parse(words: list[str]) -> Options:
    """Read the options; ``--help`` and ``--version`` end the process.

    What stands behind the first ``--`` is cut off before, because argparse mixes it up with its own.

    Raises:
        Usage: they cannot be read so.
    """
    split = words.index("--") if "--" in words else len(words)
    ours, argv = words[:split], words[split + 1 :]
    parser, commands = _parser(set(ours))
    options, strangers = parser.parse_known_args(ours, namespace=Options())
    chosen = commands[options.chosen]
    if options.chosen == "cron":
        strangers = _late_schedule(options, strangers, chosen)
    if strangers:
        # Where an option is misspelt its value was read as something else, which made strangers of words that are none.
        if strangers[0].startswith("-"):
            chosen.error(f"unrecognized arguments: {strangers[0]}")
        way_out = "; a command to run stands behind --" if options.chosen in RUNNING else ""
        chosen.error(f"unrecognized arguments: {' '.join(strangers)}{way_out}")
    if split < len(words) and options.chosen not in RUNNING:
        chosen.error("there is nothing to run here: no -- and no command behind it")
    options.argv = argv
    return options


def _late_schedule(options: Options, strangers: list[str], chosen: Parser) -> list[str]:
    """What is left when SCHEDULE was taken out of it: argparse passes over one that options part from NAME."""
    if any(word.startswith("-") for word in strangers):
        return strangers
    if options.schedule is None and len(strangers) == 1:
        try:
            options.schedule = filled(strangers[0])
        except argparse.ArgumentTypeError as error:
            chosen.error(f"argument SCHEDULE: {error}")
        return []
    first = options.schedule or ""
    if strangers and " " not in first and (first == "@every" or not first.startswith("@")):
        told = " ".join(filter(None, (first, *strangers)))
        chosen.error(f'SCHEDULE is one word, so quote it, as in "0 3 * * *" (not: {told}); a command stands behind --')
    return strangers


def _parser(words: set[str]) -> tuple[Parser, Mapping[str, Parser]]:
    common = _common()
    about = "Leader leases with fencing tokens: many copies run, exactly one acts."
    parser = Parser(prog="leaderlock", description=about, epilog=EPILOG, parents=[common])
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="chosen", required=True)
    for name, about in COMMANDS.items():
        # Only what may have been asked for is imported: a crontab line should not pay for the rest.
        module = importlib.import_module(f"leaderlock.cli.{name}") if name in words else None
        description = module.__doc__ if module is not None else about
        command = commands.add_parser(name, help=about, description=description, parents=[common])
        if module is not None:
            module.add_arguments(command)
            command.set_defaults(command=module.command)
    return parser, commands.choices


def _common() -> Parser:
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("options of all commands")
    group.add_argument("--url", type=filled, help="the store; else $LEADERLOCK_URL")
    group.add_argument(
        "--ttl", type=seconds, metavar="S", help="seconds a lease outlives its last renewal (default: 15)"
    )
    group.add_argument(
        "--longest",
        type=seconds,
        metavar="S",
        help="the longest ttl in this namespace; the same for all its clients (default: 30)",
    )
    group.add_argument(
        "--namespace",
        type=filled,
        help="keeps tenants of one store apart; else $LEADERLOCK_NAMESPACE, or 'default'",
    )
    group.add_argument("--json", action="store_true", help="for machines")
    return common


class _Version(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from leaderlock import __version__

        _show(f"leaderlock {__version__}")
        parser.exit()


def _show(text: str) -> None:
    """Write it, and know that it was written: at exit it would be too late to say that it was not."""
    talk = Talk(as_json=False)
    talk.data(text.rstrip("\n"))
    talk.flush()


def add_name(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="?" if optional else None, type=_name, help="what is led; choose it freely"
    )


def _name(word: str) -> str:
    try:
        return check_name(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check_argv(options: Options, form: str) -> None:
    """Raise Usage if there is no command to run."""
    if not options.argv:
        raise Usage(f"there is no command to run; the form is: {form}")
    if not options.argv[0]:
        raise Usage(f"the command to run is empty (an unset shell variable?); the form is: {form}")


def filled(word: str) -> str:
    """A word that says something, for argparse: an empty one must not stand for the default."""
    if not word:
        raise argparse.ArgumentTypeError("it is empty (an unset shell variable?): give it a value, or leave it out")
    return word


def seconds(word: str) -> float:
    """A duration on the command line, for argparse."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds, such as 15 or 0.5")
    return value
