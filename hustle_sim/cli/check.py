"""``hustle-sim check``: hold a policy against limits, for a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hustle_sim.cli.common import SetOption, chosen_policy, console, err, progress_bar
from hustle_sim.inputs import InputError

if TYPE_CHECKING:
    from hustle_sim.tuning.check import Check

_STYLE = {"kept": "green", "broken": "red bold", "unsure": "yellow", "not measured": "dim"}


def check(
    policy: Annotated[str, typer.Argument(help="The policy: a TOML file or a preset.", metavar="NAME|FILE")],
    slo: Annotated[Path, typer.Option(help="The limits: a TOML file.", metavar="FILE")],
    scenarios: Annotated[
        list[str] | None,
        typer.Option(help="A folder, a file or a bundled name. Repeatable; default: all that are bundled."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The policy of before, to show the differences to.", metavar="NAME|FILE")
    ] = None,
    replications: Annotated[int, typer.Option(help="Simulations of each scenario.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    settings: SetOption = None,
    executor: Annotated[
        str | None, typer.Option(help="Processes, or a dask scheduler: dask://host:8786. Default: all cores.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="A folder that keeps each simulation, to go on from.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML there.", metavar="FILE")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a Markdown report there, with pictures beside it.", metavar="FILE")
    ] = None,
) -> None:
    """Hold a policy against limits: exit code 1 when one is broken beyond doubt."""
    from hustle_sim.tuning.check import check as run_check
    from hustle_sim.tuning.check_report import junit as junit_xml
    from hustle_sim.tuning.check_report import write_report

    chosen = chosen_policy(policy, settings)
    before = chosen_policy(baseline, None) if baseline is not None else None
    worlds = _scenarios(scenarios or [])
    for path in (junit, report):
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError(f"{path} can't be written: there is no folder {path.absolute().parent}")
    with progress_bar() as progress:
        task = progress.add_task(f"{len(worlds)} scenarios × {replications}", total=None)
        done = run_check(
            chosen, worlds, slo, replications, seed, executor, baseline=before, results=results,
            progress=lambda now: progress.update(task, completed=now.done, total=now.total),
        )  # fmt: skip
    if junit is not None:
        junit.write_text(junit_xml(done), encoding="utf-8")
    if report is not None:
        write_report(done, report)
    _print(done)
    if done.broken:
        raise typer.Exit(1)


def _scenarios(named: list[str]) -> list[str | Path]:
    """Names and files; a folder stands for the TOML files in it. Raises InputError for an empty folder."""
    from hustle_sim.simulation import Scenario

    found: list[str | Path] = []
    for name in named:
        folder = Path(name)
        files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
        if folder.is_dir() and not files:
            raise InputError(f"{name} holds no scenario: there is no TOML file in it")
        found += files or [name]
    return found or list(Scenario.bundled())


def _print(done: Check) -> None:
    from hustle_sim.analysis import format_metric

    table = Table("Scenario", "Metric", "Limit", "Mean (95 % interval)", "Worst", "", box=None, pad_edge=False)
    for column in table.columns[:2]:
        column.no_wrap = True
    for each in done.findings:
        name = each.limit.metric
        mean = format_metric(name, each.measured.mean)
        table.add_row(
            each.scenario, name, str(each.limit), f"{mean} ({each.interval})", format_metric(name, each.worst),
            f"[{_STYLE[each.verdict]}]{each.verdict}[/]",
        )  # fmt: skip
    console.print(table)
    for each in done.broken:
        err.print(f"hustle-sim: {each.sentence}.", markup=False, soft_wrap=True)
