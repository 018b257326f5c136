"""``hustle-sim sensitivity | stability | warm-up``: what matters, what is safe under load, what not to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from hustle_sim.cli.common import PolicyOption, SetOption, chosen_policy, console, number, print_json, progress_bar
from hustle_sim.cli.experiments import worked
from hustle_sim.inputs import InputError, format_duration, parse_duration

if TYPE_CHECKING:
    from hustle_sim.tuning.experiment import Progress
    from hustle_sim.tuning.results import Results
    from hustle_sim.tuning.sensitivity import Sensitivity
    from hustle_sim.tuning.stability import Stability
    from hustle_sim.tuning.table import Table

ScenarioArgument = Annotated[str, typer.Argument(help="A bundled scenario (hustle-sim scenarios) or a TOML file.")]
SeedOption = Annotated[int, typer.Option(help="The first seed; the same seed gives the same numbers, to the last bit.")]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        help="A number of processes (default: one for each core), or a dask scheduler: dask://host:8786.",
        metavar="N|dask://HOST:PORT",
    ),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(help="Keep every simulation in this folder (Parquet); the same again goes on from there."),
]
WarmUpOption = Annotated[
    bool, typer.Option("--warm-up/--no-warm-up", help="Where the scenario has no warm_up_s, find one first.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the table as JSON.")]
OutOption = Annotated[Path | None, typer.Option(help="Save the table, and what makes it again, in this folder.")]

_ALL_METRICS = ("answered_share", "answer_p99_s", "late_p99_s", "lost", "amplification")
"""What is printed if no metric is named: more would not fit a screen."""


def sensitivity(
    scenario: ScenarioArgument,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            "-f",
            help="A field and its range: request.deadline_s=4s..12s. Repeatable. Default: every number field, from "
            "half to twice its value.",
            metavar="FIELD=LOW..HIGH",
        ),
    ] = None,
    policy: PolicyOption = "default",
    settings: SetOption = None,
    method: Annotated[
        str, typer.Option(help="morris: screens many fields. sobol: shares of the variance, for the few that matter.")
    ] = "morris",
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Only this metric. Repeatable.", metavar="METRIC")
    ] = None,
    trajectories: Annotated[int, typer.Option(help="morris: walks through the fields.")] = 10,
    points: Annotated[int, typer.Option(help="sobol: points of the sequence, a power of two.")] = 64,
    replications: Annotated[int, typer.Option("--replications", "-n", help="Simulations of each point.")] = 3,
    seed: SeedOption = 0,
    warm_up: WarmUpOption = True,
    most: Annotated[int, typer.Option(help="Print so many fields of each metric.", min=1)] = 10,
    executor: ExecutorOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Say which fields of a policy move the metrics, and which don't matter."""
    chosen = chosen_policy(policy, settings)
    ranges = _ranges(fields) if fields else None

    def work(kept: Results, tell: Callable[[Progress], None]) -> Sensitivity:
        from hustle_sim.tuning.sensitivity import sensitivity as analyse

        how: Any = method
        return analyse(
            scenario, chosen, ranges, how, metrics, trajectories=trajectories, points=points,
            replications=replications, seed=seed, warm_up=warm_up, executor=executor, results=kept, progress=tell,
        )  # fmt: skip

    table = worked(work, results, out)
    if as_json:
        _print_as_json(table)
    else:
        _print_sensitivity(table, metrics or _ALL_METRICS, most)


def stability(
    scenario: ScenarioArgument,
    load: Annotated[str, typer.Option("--load", "-l", help="Loads in requests/s: 2,4,8.", metavar="RATES")],
    against: Annotated[
        str,
        typer.Option(
            "--against",
            "-a",
            help="A field and its values: request.attempt_timeout_s=2s,4s,8s.",
            metavar="FIELD=VALUES",
        ),
    ],
    policy: PolicyOption = "default",
    settings: SetOption = None,
    load_from: Annotated[str, typer.Option(help="clients: so many more of them; background: load from elsewhere.")] = (
        "clients"
    ),
    disturbance: Annotated[str, typer.Option(help="spike (of load) or outage.")] = "spike",
    lasts: Annotated[
        str | None, typer.Option(help="How long the disturbance lasts. Default: a spike 5s, an outage 60s.")
    ] = None,
    spike_factor: Annotated[float, typer.Option(help="The spike: so many times the load.")] = 10.0,
    recover: Annotated[str, typer.Option(help="Time to come back.")] = "2m",
    judge: Annotated[str, typer.Option(help="Judged are the messages of the last so long.")] = "30s",
    replications: Annotated[int, typer.Option("--replications", "-n", help="Simulations of each cell.")] = 10,
    seed: SeedOption = 0,
    warm_up: WarmUpOption = True,
    executor: ExecutorOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Map the loads under which a policy comes back by itself after a disturbance, and those under which it doesn't."""
    chosen = chosen_policy(policy, settings)
    field, values = _field_and_values("--against", against)
    loads = [_number("--load", load, text) for text in load.split(",")]
    lasts_s = None if lasts is None else _number("--lasts", lasts, lasts)
    recover_s, judge_s = _number("--recover", recover, recover), _number("--judge", judge, judge)

    def work(kept: Results, tell: Callable[[Progress], None]) -> Stability:
        from hustle_sim.tuning.stability import stability as map_out

        words: Any = {"load_from": load_from, "disturbance": disturbance}
        return map_out(
            scenario, chosen, loads, {field: values}, replications, seed, executor, disturbance_s=lasts_s,
            spike_factor=spike_factor, recover_s=recover_s, judge_s=judge_s, warm_up=warm_up, results=kept,
            progress=tell, **words,
        )  # fmt: skip

    table = worked(work, results, out)
    if as_json:
        _print_as_json(table)
    else:
        _print_stability(table)


def warm_up(
    scenario: ScenarioArgument,
    policy: PolicyOption = "default",
    settings: SetOption = None,
    replications: Annotated[int, typer.Option("--replications", "-n", help="Simulations that are averaged.")] = 5,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Say how long a scenario takes to forget that it began empty, and whether its warm_up_s is enough."""
    from hustle_sim.tuning.warm_up import warm_up as find

    chosen = chosen_policy(policy, settings)
    with progress_bar() as bar:
        task = bar.add_task("simulating", total=None)
        found = find(
            scenario, chosen, replications, seed,
            progress=lambda now: bar.update(task, total=now.total, completed=now.done),
        )  # fmt: skip
    if as_json:
        print_json({"seconds": found.seconds, "cuts": found.cuts, "warm_up_s": found.given_s, "note": found.note})
    else:
        console.print(f"{found.note}.", markup=False, soft_wrap=True)


def _ranges(settings: Sequence[str]) -> dict[str, tuple[float, float]]:
    ranges: dict[str, tuple[float, float]] = {}
    for setting in settings:
        field, sign, text = setting.partition("=")
        low, dots, high = text.partition("..")
        if not (sign and dots):
            raise InputError(f"--field {setting}: write a field and its range, such as request.deadline_s=4s..12s")
        if field.strip() in ranges:
            raise InputError(f"--field {setting}: {field.strip()} is named twice")
        ranges[field.strip()] = _number("--field", setting, low), _number("--field", setting, high)
    return ranges


def _field_and_values(option: str, setting: str) -> tuple[str, list[Any]]:
    field, sign, text = setting.partition("=")
    if not sign:
        raise InputError(f"{option} {setting}: write a field and its values, such as request.max_attempts=1,2,3")
    return field.strip(), [_value(part.strip()) for part in text.split(",")]


def _number(option: str, setting: str, text: str) -> float:
    try:
        return float(str(parse_duration(text)))
    except ValueError:
        raise InputError(f"{option} {setting}: {text!r} is no number") from None


def _value(text: str) -> float | int | bool | str:
    """A switch, a number, a duration in seconds, or a word."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(str(parse_duration(text)))
    except ValueError:
        return text


def _print_as_json(table: Table) -> None:
    rows = [
        {name: number(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
    print_json({"about": table.about, "rows": rows})


def _print_sensitivity(table: Sensitivity, metrics: Sequence[str], most: int) -> None:
    from hustle_sim.analysis import METRICS

    about = table.about
    leading, *others = {"morris": ("mu_star", "sigma", "mu"), "sobol": ("ST", "S1")}[table.method]
    for metric in (name for name in metrics if name in about["metrics"]):
        wide = table[table["metric"] == metric].pivot_table(
            index="field", columns="index", values=["value", "low", "high"], dropna=False
        )
        unit = METRICS[metric].unit
        title = f"{metric} [{unit}]" if unit != "count" else metric
        grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
        grid.add_column("Field", no_wrap=True)
        for head in (leading, f"{about['level'] * 100:.3g} % interval", *others):
            grid.add_column(head, justify="right")
        order = wide[("value", leading)].sort_values(ascending=False, kind="stable")
        for field in order.index[:most]:
            row = wide.loc[field]
            between = f"{row['low', leading]:.3g} to {row['high', leading]:.3g}"
            grid.add_row(
                str(field), f"{row['value', leading]:.3g}", between, *(f"{row['value', each]:.3g}" for each in others)
            )
        console.print(grid)


def _print_stability(table: Stability) -> None:
    from hustle_sim.analysis.metrics import format_share
    from hustle_sim.tuning.stability_plot import REGIONS

    about = table.about
    field, loads = table.field, about["load"]
    closed = table["critical_from"].notna().any()
    what, lasts_s = about["arguments"]["disturbance"], about["arguments"]["disturbance_s"]
    title = f"Share of runs that don't come back after the {what} of {format_duration(lasts_s)}, by load in requests/s"
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column(field, justify="right", no_wrap=True)
    for load in loads:
        grid.add_column(f"{load:g}/s", justify="right", no_wrap=True)
    if closed:
        grid.add_column("Closed form", no_wrap=True)
    for value, rows in table.groupby(field, sort=False):
        cells = [f"{REGIONS[row['region']].glyph} {format_share(row['collapsed'])}" for row in rows.to_dict("records")]
        if closed:
            first = rows.iloc[0]
            cells.append(
                f"{REGIONS['vulnerable'].glyph} from {first['vulnerable_from']:.1f}/s, "
                f"{REGIONS['collapsed'].glyph} from {first['critical_from']:.1f}/s"
            )
        grid.add_row(f"{value:g}" if isinstance(value, float) else str(value), *cells)
    console.print(grid)
    signs = "   ".join(f"{look.glyph} {look.word}" for look in REGIONS.values())
    console.print(f"{signs}   ({about['seeds'][1]} runs each; 0 % may be {format_share(float(table['high'].min()))})")
    if about["why_no_closed_form"]:
        console.print(f"No closed form: {about['why_no_closed_form']}.", markup=False, soft_wrap=True)
