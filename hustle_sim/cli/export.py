"""``hustle-sim export``: take a policy home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hustle_sim.cli.common import SetOption, chosen_policy, err
from hustle_sim.inputs import InputError


def export(
    policy: Annotated[str, typer.Argument(help="A preset, or a file with a policy.", metavar="NAME|FILE")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="env, json, toml, typescript, kotlin, swift, python, tenacity, stamina, polly or envoy.",
            metavar="FORMAT",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write; default: standard output.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file if it is there.")] = False,
    settings: SetOption = None,
) -> None:
    """Write a policy as constants of a language or as the configuration of a library or proxy.

    What it can't express is said on standard error, and in the file.
    """
    from hustle_sim.tuning.export import export as exported

    done = exported(chosen_policy(policy, settings), to)
    if out is None:
        typer.echo(done.text, nl=False)
    else:
        try:
            with open(out, "w" if force else "x", encoding="utf-8") as target:
                target.write(done.text)
        except FileExistsError:
            raise InputError(f"{out} is there already: name another file, or add --force to overwrite it") from None
        except OSError as error:
            raise InputError(f"{out} can't be written: {error.strerror}") from None
        err.print(f"Wrote {out}.", markup=False, soft_wrap=True)
    for warning in done.warnings:
        err.print(f"warning: {warning}", markup=False, soft_wrap=True)
