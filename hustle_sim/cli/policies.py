"""``hustle-sim policy``: show or save a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hustle_sim.cli.common import PolicyOption, SetOption, chosen_policy, err
from hustle_sim.inputs import InputError

policy_app = typer.Typer(help="Show or save a policy.", no_args_is_help=True, rich_markup_mode=None)


@policy_app.command("show")
def policy_show(
    policy: Annotated[str, typer.Argument(help="A preset or a TOML file.", metavar="NAME|FILE")] = "default",
    settings: SetOption = None,
) -> None:
    """Print a policy as TOML, each field with its unit and reason."""
    typer.echo(chosen_policy(policy, settings).to_toml(), nl=False)


@policy_app.command("save")
def policy_save(
    path: Annotated[Path, typer.Argument(help="The TOML file to write.")],
    policy: PolicyOption = "default",
    settings: SetOption = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file if it is there.")] = False,
) -> None:
    """Save a policy as TOML, to be edited and used with --policy."""
    chosen = chosen_policy(policy, settings)
    if path.exists() and not force:
        raise InputError(f"{path} is there already: name another file, or add --force to overwrite it")
    try:
        chosen.save(path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from None
    err.print(f"Saved {path}.", markup=False, soft_wrap=True)
