"""``hustle-sim compare | sweep | again``: which policy is better, what does a field do, and how sure is that?"""

from __future__ import annotations

import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid
from rich.text import Text

from hustle_sim.cli.common import console, err, number, print_json, progress_bar
from hustle_sim.inputs import InputError, format_duration, parse_duration
from hustle_sim.policy import PRESETS, Policy, policy_fields

if TYPE_CHECKING:
    from hustle_sim.tuning.compare import Comparison
    from hustle_sim.tuning.experiment import Progress
    from hustle_sim.tuning.results import Results
    from hustle_sim.tuning.sweep import Sweep, Value
    from hustle_sim.tuning.table import Table

ScenariosArgument = Annotated[
    list[str],
    typer.Argument(help="Bundled scenarios (hustle-sim scenarios) or TOML files.", metavar="SCENARIO..."),
]
ReplicationsOption = Annotated[int, typer.Option("--replications", "-n", help="Simulations of each, seed by seed.")]
SeedOption = Annotated[int, typer.Option(help="The first seed; the same seed gives the same numbers, to the last bit.")]
MetricOption = Annotated[
    list[str] | None, typer.Option("--metric", "-m", help="Only this metric. Repeatable.", metavar="METRIC")
]
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
JsonOption = Annotated[bool, typer.Option("--json", help="Print the table as JSON.")]
OutOption = Annotated[Path | None, typer.Option(help="Save the table, and what makes it again, in this folder.")]

_SHOWN = ("answered_share", "answer_p99_s", "late_p99_s", "lost", "amplification")
"""What a sweep prints if no metric is named: more would not fit a screen."""

_GLYPHS = {"better": "▲ better", "worse": "▼ worse", "unsure": "? unsure", "same": "= same", "": ""}
_COLOURS = {"better": "green", "worse": "red"}


def compare(
    scenarios: ScenariosArgument,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            "-p",
            help=f"A preset ({', '.join(PRESETS)}) or a TOML file, the baseline first. Repeatable. "
            "Default: original and default.",
            metavar="NAME|FILE|NAME=FILE",
        ),
    ] = None,
    replications: ReplicationsOption = 20,
    seed: SeedOption = 0,
    metrics: MetricOption = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Replicate until the differences in METRIC are known to ± VALUE: answer_p99_s=100ms. Repeatable.",
            metavar="METRIC=VALUE",
        ),
    ] = None,
    max_replications: Annotated[int, typer.Option(help="With --precision: at most so many.")] = 320,
    executor: ExecutorOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Simulate policies on the same seeds, and say which is better, by how much, and how sure that is."""
    chosen = _policies(policies or ["original", "default"])
    wanted = _precision(precision)

    def work(kept: Results, tell: Callable[[Progress], None]) -> Comparison:
        from hustle_sim.tuning.compare import compare as compare_policies

        return compare_policies(
            chosen, list(scenarios), replications, seed, executor, metrics=metrics, precision=wanted,
            max_replications=max_replications, results=kept, progress=tell,
        )  # fmt: skip

    _print(worked(work, results, out), as_json)


def sweep(
    scenarios: ScenariosArgument,
    fields: Annotated[
        list[str],
        typer.Option(
            "--field",
            "-f",
            help="What to change: retry.base_s=0.1,0.5,2 or, as a range, request.deadline_s=4s..12s; "
            "scenario.clients.count=1,10 changes the scenario. Repeatable.",
            metavar="FIELD=VALUES",
        ),
    ],
    policy: Annotated[
        str, typer.Option("--policy", "-p", help="The policy to change: a preset or a TOML file.", metavar="NAME|FILE")
    ] = "default",
    design: Annotated[
        str | None,
        typer.Option(help="grid, latin-hypercube or sobol. Default: grid, with a range latin-hypercube."),
    ] = None,
    points: Annotated[int, typer.Option(help="Points of latin-hypercube and sobol.")] = 64,
    replications: ReplicationsOption = 20,
    seed: SeedOption = 0,
    metrics: MetricOption = None,
    executor: ExecutorOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Change fields of a policy, and say what each point does, with its uncertainty."""
    axes = axes_of(fields, "--field")
    ranges = any(isinstance(values, tuple) for values in axes.values())
    chosen_design: Any = design or ("latin-hypercube" if ranges else "grid")

    def work(kept: Results, tell: Callable[[Progress], None]) -> Sweep:
        from hustle_sim.tuning.sweep import sweep as sweep_fields

        return sweep_fields(
            list(scenarios), policy, axes, replications, seed, executor, design=chosen_design, points=points,
            metrics=metrics, results=kept, progress=tell,
        )  # fmt: skip

    _print(worked(work, results, out), as_json)


def again(
    folder: Annotated[Path, typer.Argument(help="A folder that --out of compare, sweep or tune has made.")],
    executor: ExecutorOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Make a saved table again, from what it says of itself, and say whether the numbers are the same."""
    from hustle_sim.tuning.saved import load_table

    before = load_table(folder)

    def work(kept: Results, tell: Callable[[Progress], None]) -> Table:
        return before.again(executor=executor, results=kept, progress=tell)  # type: ignore[no-any-return]

    table = worked(work, results, out)
    _print(table, as_json)
    same = before.runs.equals(table.runs)
    words = "The numbers are the same, to the last bit." if same else "The numbers are not those that were saved."
    err.print(words, markup=False)
    if not same:
        raise typer.Exit(1)


def worked(work: Callable[[Results, Callable[[Progress], None]], Any], folder: Path | None, out: Path | None) -> Any:
    """Do the work with a progress bar; Ctrl-C says what is kept, and ends with 130. The table is saved in ``out``."""
    with _interruptible(folder) as (results, was_pressed):
        from hustle_sim.tuning.results import Results
        from hustle_sim.tuning.table import check_folder

        def told(now: Progress) -> None:
            # Python drops an exception that comes in a destructor, and with it an interrupt.
            if was_pressed():
                raise KeyboardInterrupt
            bar.update(task, total=now.total, completed=now.done)

        if out is not None:
            check_folder(out)
        results.append(Results(folder))
        with progress_bar() as bar:
            task = bar.add_task("simulating", total=None)
            table = work(results[0], told)
        if out is not None:
            table.save(out)
            err.print(f"Saved in {out}.", markup=False, soft_wrap=True)
    return table


def _is_news(record: logging.LogRecord) -> bool:
    return "was destroyed but it is pending" not in record.getMessage()


@contextmanager
def _interruptible(folder: Path | None) -> Iterator[tuple[list[Results], Callable[[], bool]]]:
    """One sentence on Ctrl-C; what the block puts into the list is what is kept.

    The function tells whether Ctrl-C was pressed.
    """
    results: list[Results] = []
    pressed = threading.Event()

    def press(*_: Any) -> None:
        pressed.set()
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, press) if is_main else None
    try:
        yield results, pressed.is_set
    except KeyboardInterrupt:
        # What was under way is let go as it is.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        logging.getLogger("asyncio").addFilter(_is_news)
        kept = f"{sum(map(len, results)):,} simulations are kept in {folder}, and the same again goes on from there"
        words = kept if folder is not None else "nothing is kept: --results FOLDER would keep it"
        err.print(f"hustle-sim: stopped; {words}.", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _policies(names: Sequence[str]) -> dict[str, Policy]:
    """Policies by name; a file without a name of its own is called like the file."""
    chosen: dict[str, Policy] = {}
    for given in names:
        name, sign, source = given.partition("=")
        if not sign:
            name, source = (given if given in PRESETS else Path(given).stem), given
        if not name or not source:
            raise InputError(f"--policy {given}: write a preset, a file, or a name and a file, such as mine=mine.toml")
        if name in chosen:
            raise InputError(f"--policy {given}: two policies are called {name!r}; name one: other={source}")
        chosen[name] = Policy.load(source)
    return chosen


def _precision(settings: Sequence[str] | None) -> dict[str, float] | None:
    """``answer_p99_s=100ms`` as a number; None if there is none."""
    wanted: dict[str, float] = {}
    for setting in settings or ():
        metric, sign, text = setting.partition("=")
        try:
            value = float(str(parse_duration(text)))
        except ValueError:
            sign, value = "", math.nan
        if not sign:
            raise InputError(f"--precision {setting}: write a metric and a width, such as --precision answer_p99_s=0.1")
        wanted[metric.strip()] = value
    return wanted or None


def axes_of(settings: Sequence[str], option: str) -> dict[str, Any]:
    """``retry.base_s=0.1,0.5,2`` as a list, ``request.deadline_s=4..12`` as a range; ``option`` is named in errors."""
    axes: dict[str, Any] = {}
    for setting in settings:
        field, sign, text = setting.partition("=")
        field = field.strip()
        low, dots, high = text.partition("..")
        parts = [low, high] if dots else text.split(",")
        if not sign or not all(part.strip() for part in parts):
            raise InputError(
                f"{option} {setting}: write a field and values, such as {option} retry.base_s=0.1,0.5,2, or a range, "
                f"such as {option} request.deadline_s=4..12"
            )
        if field in axes:
            raise InputError(f"{option} {setting}: {field} is named twice; write all its values at once")
        values = [_value(part.strip()) for part in parts]
        if dots and any(isinstance(value, bool | str) for value in values):
            raise InputError(f"{option} {setting}: a range goes from a number to a number, such as 4..12")
        axes[field] = tuple(values) if dots else values
    return axes


def _value(text: str) -> Value:
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


def _print(table: Any, as_json: bool) -> None:
    from hustle_sim.tuning.compare import Comparison

    if as_json:
        rows = [
            {name: number(value) if isinstance(value, float) else value for name, value in row.items()}
            for row in table.to_dict("records")
        ]
        print_json({"about": table.about, "rows": rows})
    elif isinstance(table, Comparison):
        _print_comparison(table)
    elif table.KIND == "tuning":
        console.print(table.report(), markup=False, highlight=False, soft_wrap=True)
    else:
        _print_sweep(table)


def _print_comparison(table: Comparison) -> None:
    from hustle_sim.analysis import format_metric
    from hustle_sim.tuning.table import format_difference

    about = table.about
    alone = len(about["policies"]) == 1
    for scenario, rows in table.groupby("scenario", sort=False):
        grid = Grid(title=_title(str(scenario), about), title_justify="left", box=None, pad_edge=False)
        for head in ("Metric", "Policy"):
            grid.add_column(head, no_wrap=True)
        for head in ("Mean", f"{about['level'] * 100:.3g} % interval"):
            grid.add_column(head, justify="right")
        if not alone:
            grid.add_column(f"Against {about['baseline']}", justify="right")
            grid.add_column("Interval", justify="right")
            grid.add_column("", no_wrap=True)
        last = ""
        for row in rows.to_dict("records"):
            metric = str(row["metric"])
            cells = [metric if metric != last else "", str(row["policy"]), format_metric(metric, row["mean"])]
            cells.append(_between(partial(format_metric, metric), row["low"], row["high"]))
            if not alone and row["policy"] != about["baseline"]:
                ends = row["difference_low"], row["difference_high"]
                cells += [
                    format_difference(metric, row["difference"]),
                    _between(partial(format_difference, metric), *ends),
                ]
            verdict = Text(_GLYPHS[row["verdict"]], style=_COLOURS.get(row["verdict"], ""))
            grid.add_row(*map(Text, cells), *([verdict] if len(cells) == 6 else []))
            last = metric
        console.print(grid)
    if about["precise"] is False:
        err.print(
            f"The precision was not reached with {about['seeds'][1]} replications: raise --max-replications.",
            markup=False, soft_wrap=True,
        )  # fmt: skip


def _print_sweep(table: Sweep) -> None:
    about, fields = table.about, table.fields
    named = about["arguments"]["metrics"]
    metrics = [name for name in dict.fromkeys(table["metric"]) if named or name in _SHOWN]
    units = {field.name: field.unit for field in policy_fields()}
    for scenario, rows in table.groupby("scenario", sort=False):
        grid = Grid(title=_title(str(scenario), about), title_justify="left", box=None, pad_edge=False)
        for head in (*fields, *metrics):
            grid.add_column(head, justify="right")
        for _, point in rows.groupby("point", sort=False):
            by_metric = {str(row["metric"]): row for row in point.to_dict("records")}
            first = next(iter(by_metric.values()))
            cells = [_shown(first[field], units.get(field, "")) for field in fields]
            grid.add_row(*map(Text, [*cells, *(_off(metric, by_metric[metric]) for metric in metrics)]))
        console.print(grid)
    if not named:
        err.print("More metrics: --metric NAME, --json or --out FOLDER.", markup=False)
    if len(table.refused):
        first_reason = table.refused["reason"].iloc[0]
        err.print(
            f"{len(table.refused)} of the points can't work and were left out; the first: {first_reason}",
            markup=False, soft_wrap=True,
        )  # fmt: skip


def _title(scenario: str, about: Mapping[str, Any]) -> str:
    first, count = about["seeds"]
    return f"{scenario} · {count} replications (seeds {first} to {first + count - 1}) · {about['level'] * 100:.3g} %"


def _between(words: Callable[[float], str], low: float, high: float) -> str:
    if math.isnan(low):
        return "–"
    return words(low) if low == high else f"{words(low)} … {words(high)}"


def _off(metric: str, row: Mapping[Any, Any]) -> str:
    """A mean, and how far it may be off."""
    from hustle_sim.analysis import format_metric
    from hustle_sim.tuning.table import format_difference

    mean = format_metric(metric, row["mean"])
    off = (row["high"] - row["low"]) / 2
    return mean if math.isnan(off) or off == 0 else f"{mean} ± {format_difference(metric, off).removeprefix('+')}"


def _shown(value: object, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_duration(float(value)) if unit == "s" else f"{value:.4g}"
    return str(value)
