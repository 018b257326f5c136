"""The command line: results go to standard output, everything else to standard error.

Bad input is one sentence and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hustle_sim._version import __version__
from hustle_sim.cli.advice import explain, lint
from hustle_sim.cli.check import check
from hustle_sim.cli.common import err
from hustle_sim.cli.experiments import again, compare, sweep
from hustle_sim.cli.export import export
from hustle_sim.cli.policies import policy_app
from hustle_sim.cli.queue import queue_app
from hustle_sim.cli.simulating import replay, run, scenarios, soak
from hustle_sim.cli.studies import sensitivity, stability, warm_up
from hustle_sim.cli.tune import tune
from hustle_sim.cli.watching import probe, serve
from hustle_sim.inputs import InputError

app = typer.Typer(
    name="hustle-sim",
    help="Your app's AI backend will fail: see what your users will see, and tune timeouts and backoff.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    run, scenarios, explain, lint, compare, sweep, tune, sensitivity, stability, warm_up, again,
    check, export, probe, serve, soak, replay,
):  # fmt: skip
    app.command()(command)
app.add_typer(policy_app, name="policy")
app.add_typer(queue_app, name="queue")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with 0, 1 (a fault of ours), 2 (bad input) or 130 (Ctrl-C)."""
    try:
        app(args=list(arguments) if arguments is not None else None, standalone_mode=True)
    except InputError as error:
        err.print(f"hustle-sim: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("hustle-sim: stopped.")
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hustle-sim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of all commands."""
