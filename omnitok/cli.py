"""The command line: names and one-line meanings of the commands, errors as one clear line, exit codes. Imports no command."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

import cyclopts

from . import __version__
from .errors import OmnitokError, unknown_name
from .plugins.commands import PluginCommand, plugin_commands

COMMANDS = {
    "plugins": ("omnitok.commands.plugins:app", "List, explain, try, disable or enable plugins."),
    "new": ("omnitok.commands.new:new", "Write a plugin's package: an example to edit, or a one-file plugin."),
    "check": ("omnitok.commands.check:check", "Hold plugins against every promise of the plugin contract."),
    "tokenize": ("omnitok.commands.tokenize:tokenize", "Show the tokens of files."),
    "train": ("omnitok.commands.train:train", "Train a model from a recipe."),
    "eval": ("omnitok.commands.evaluate:evaluate", "Score a run on held-out samples."),
    "generate": ("omnitok.commands.generate:generate", "Continue a prompt with a run's model."),
    "presets": ("omnitok.commands.presets:presets", "List the architectures, or explain one."),
    "import": ("omnitok.commands.import_:import_", "Make a run of a published model."),
    "export": ("omnitok.commands.export:export", "Write a run as its reference library's files."),
    "demo": ("omnitok.commands.demo:demo", "Run a demo, or list them."),
    "doctor": ("omnitok.commands.doctor:doctor", "Examine this installation: what is wrong, and what to do."),
    "config": ("omnitok.commands.config:app", "Show every value of a recipe and what it means."),
}
DEBUG = "--debug"

OK, FAILED, MISUSED, INTERRUPTED, NOBODY_READS = 0, 1, 2, 130, 141


def build_app(more: Iterable[PluginCommand] = (), asked: str = "") -> cyclopts.App:
    """All commands by import string: ours, and `more` of plugins. The one that is asked for brings its own, longer help."""
    app = cyclopts.App(
        name="omnitok",
        help="Tokenize anything, train one Transformer.",
        help_epilogue=f"`{DEBUG}` or OMNITOK_DEBUG=1 shows the traceback of an error.",
        help_format="plaintext",
        version=__version__,
        default_parameter=cyclopts.Parameter(negative=()),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, (target, meaning) in COMMANDS.items():
        # an app behind an import string takes no settings from here; a demo answers --help itself
        own_help: dict[str, Any] = {"help_flags": []} if name == "demo" else {}
        app.command(target, name=name, help=None if name == asked else meaning, **own_help)
    for command in more:
        app.command(command.target, name=command.name, help=command.meaning)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code: 0 done, 1 something failed, 2 an error in what was asked."""
    arguments = list(arguments)
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = DEBUG in before or os.environ.get("OMNITOK_DEBUG", "") not in ("", "0")
    if DEBUG in before:
        arguments.remove(DEBUG)
    try:
        first = arguments[0] if arguments else ""
        more = {command.name: command for command in plugin_commands(COMMANDS)}
        app = build_app(more.values(), first)
        if first and first not in list(app):
            raise unknown_name("command", first, [name for name in app if not name.startswith("-")], "commands")
        if first in more:
            more[first].load()
        result = app(arguments)
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except (OmnitokError, cyclopts.CycloptsError, ImportError) as error:
        if debug:
            traceback.print_exc()
        cause = f" ({error.__cause__})" if isinstance(error, ImportError) and error.__cause__ else ""
        print(f"error: {' '.join(f'{error}{cause}'.split())}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains when it ends
        return NOBODY_READS


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
