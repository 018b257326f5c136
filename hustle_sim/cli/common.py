"""What the commands share: the two consoles, the options of a policy, progress, JSON."""

from __future__ import annotations

import json
import math
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy

console = Console()
err = Console(stderr=True, highlight=False)

PolicyOption = Annotated[
    str, typer.Option("--policy", "-p", help=f"A preset ({', '.join(PRESETS)}) or a TOML file.", metavar="NAME|FILE")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Change one field: probe.interval_s=60s. Repeatable.", metavar="FIELD=VALUE"),
]


def chosen_policy(name: str, settings: list[str] | None) -> Policy:
    """The preset or file with each ``FIELD=VALUE`` set; raises InputError."""
    changes: dict[str, object] = {}
    for setting in settings or ():
        field, sign, value = setting.partition("=")
        if not sign:
            raise InputError(f"--set {setting}: write a field and a value, such as --set probe.interval_s=60s")
        changes[field.strip()] = value.strip()
    return Policy.load(name).replace(changes)


def progress_bar() -> Progress:
    """A bar on standard error with the time left, gone when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )


def number(value: float) -> float | None:
    """JSON has no NaN: a metric without a basis is null."""
    return None if math.isnan(value) else float(value)


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2))
