"""`omnitok rl`: the commands that this plugin brings. Each is a file here, imported when it is called."""

from __future__ import annotations

import cyclopts

COMMANDS = {
    "collect": ("collect:collect", "Play an environment and write what happened as a Minari data set."),
    "mix": ("mix:mix", "Train a policy and write episodes of its checkpoints."),
    "eval": ("eval:evaluate", "Ask a run for returns and report which it achieves."),
    "watch": ("watch:watch", "Play one episode and save it as a moving picture."),
    "compare": ("compare:compare", "Train a recipe and its baselines on the same data."),
}

app = cyclopts.App(
    name="rl",
    help="Trajectories of gymnasium environments: collect them, train on them, ask for returns.",
    help_format="plaintext",
    default_parameter=cyclopts.Parameter(negative=()),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
for _name, (_target, _meaning) in COMMANDS.items():
    app.command(f"{__name__}.{_target}", name=_name, help=_meaning)
