"""``hustle-sim run | scenarios | soak | replay``: simulate, and say what people would have seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hustle_sim.cli.common import PolicyOption, SetOption, chosen_policy, console, err, number, print_json, progress_bar
from hustle_sim.inputs import format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis import Run


def run(
    scenario: Annotated[str, typer.Argument(help="A bundled scenario (see: hustle-sim scenarios) or a TOML file.")],
    policy: PolicyOption = "default",
    settings: SetOption = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run, to the last bit.")] = 0,
    wire: Annotated[bool, typer.Option(help="Drive the real HTTP client down to a simulated wire.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Save the run (Parquet and JSON) in this folder.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report to this HTML file, which opens without a server.")
    ] = None,
) -> None:
    """Simulate a scenario with a policy, and print what people would have seen."""
    from hustle_sim.analysis.run import check_folder
    from hustle_sim.simulation import Scenario, simulate

    chosen = chosen_policy(policy, settings)
    world = Scenario.load(scenario)
    if out is not None:
        check_folder(out)
    if report is not None:
        from hustle_sim.analysis.report import check_report, save_report

        check_report(report)
    with progress_bar() as progress:
        task = progress.add_task(f"{world.name} with {policy}", total=1.0)
        result = simulate(
            world,
            chosen,
            seed,
            wire=wire,
            label=policy,
            progress=lambda share: progress.update(task, completed=share),
        )
    if out is not None:
        result.save(out)
        err.print(f"Saved in {out}.", markup=False, soft_wrap=True)
    if report is not None:
        save_report(report, result)
        err.print(f"Wrote {report}.", markup=False, soft_wrap=True)
    if as_json:
        print_json({name: number(value) for name, value in result.metrics.items()})
    else:
        _print_metrics(result, f"{world.name} · {policy} · seed {seed}")


def scenarios() -> None:
    """List the bundled scenarios, and what each teaches."""
    from hustle_sim.simulation import Scenario

    table = Table("Scenario", "Lasts", "Clients", "What it teaches", box=None, pad_edge=False)
    for name in Scenario.bundled():
        scenario = Scenario.load(name)
        table.add_row(name, format_duration(scenario.duration_s), str(scenario.clients.count), scenario.description)
    console.print(table)


def soak(
    cases: Annotated[int | None, typer.Option(help="So many cases; default: until Ctrl-C.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
) -> None:
    """Crash simulated apps at random moments, break their store and backend, and check that nothing is lost."""
    from hustle_sim.simulation.soak import account, shrink
    from hustle_sim.simulation.soak import soak as run_soak

    with progress_bar() as progress:
        task = progress.add_task("cases", total=cases)
        result = run_soak(
            seed, cases, tell=lambda now: progress.update(task, completed=now.cases, description=f"{now.cases:,} cases")
        )
    table = Table("Soak", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, value in result.lines():
        table.add_row(name, value)
    console.print(table)
    for verdict in result.failed:
        console.print(account(verdict), markup=False, soft_wrap=True)
    if result.failed:
        smallest = shrink(result.failed[0].case)
        console.print(f"the first, shrunk: hustle-sim replay '{smallest.to_json()}'", markup=False, soft_wrap=True)
        raise typer.Exit(1)


def replay(
    case: Annotated[str, typer.Argument(help="A seed, or a case as JSON.", metavar="SEED|JSON")],
    shrunk: Annotated[bool, typer.Option(help="Take away what is not needed to fail.")] = False,
) -> None:
    """Run one case of the soak again, and tell what happened in it."""
    from hustle_sim.simulation.cases import Case
    from hustle_sim.simulation.soak import shrink
    from hustle_sim.simulation.trials import run_case

    chosen = Case.draw(int(case)) if case.lstrip("-").isdecimal() else Case.from_json(case)
    if shrunk:
        chosen = shrink(chosen)
    verdict = run_case(chosen)
    typer.echo("\n".join(verdict.log))
    typer.echo(f"the case: {chosen.to_json()}")
    typer.echo("\n".join(f"VIOLATED at {each}" for each in verdict.violations) or "every invariant held")
    if verdict.violations:
        raise typer.Exit(1)


def _print_metrics(result: Run, title: str) -> None:
    from hustle_sim.analysis import METRICS, format_metric

    table = Table("Metric", "Value", "What it says", title=title, title_justify="left", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, metric in METRICS.items():
        table.add_row(name, format_metric(name, result.metrics[name]), metric.text)
    console.print(table)
