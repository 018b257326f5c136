"""``hustle-sim tune``: search the policy's fields for what to ship, and prove it on what the search never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer
from rich.table import Table as Grid
from rich.text import Text

from hustle_sim.cli.common import SetOption, chosen_policy, console, err, number, print_json
from hustle_sim.cli.experiments import (
    ExecutorOption,
    JsonOption,
    OutOption,
    ResultsOption,
    ScenariosArgument,
    SeedOption,
    axes_of,
    worked,
)
from hustle_sim.inputs import InputError

if TYPE_CHECKING:
    from hustle_sim.tuning.experiment import Progress
    from hustle_sim.tuning.results import Results
    from hustle_sim.tuning.tune import Tuning


def tune(
    scenarios: ScenariosArgument,
    policy: Annotated[
        str,
        typer.Option("--policy", "-p", help="Where the search begins: a preset or a TOML file.", metavar="NAME|FILE"),
    ] = "default",
    settings: SetOption = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            help="What may change: retry.base_s=0.1..2, retry.jitter=full,equal, or a field or part by its name "
            "for its usual values. Repeatable. Default: timeouts, retries, probes, breaker and the queue's pace.",
            metavar="FIELD=LOW..HIGH",
        ),
    ] = None,
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            "-o",
            help="A metric to be good at; METRIC=lower or METRIC=higher says what is good. Repeatable. Default: "
            "answer_p99_s, answered_share, amplification, recovery_peak and spend_multiplier.",
            metavar="METRIC",
        ),
    ] = None,
    slo: Annotated[
        Path | None,
        typer.Option(
            help="Limits that the policy must keep: a TOML file as for check. Default: nothing is lost, and "
            "everybody has some answer within the deadline.",
            metavar="FILE",
        ),
    ] = None,
    robust: Annotated[str, typer.Option(help="How several scenarios count: their mean, or the worst.")] = "mean",
    trials: Annotated[int, typer.Option(help="Policies that are tried.")] = 200,
    replications: Annotated[
        int, typer.Option("--replications", "-n", help="Simulations of a promising policy in each scenario.")
    ] = 8,
    verify: Annotated[int, typer.Option(help="Seeds to choose from the front, and as many again to prove it.")] = 20,
    front: Annotated[int, typer.Option(help="Policies of the front that are looked at again, at most.")] = 12,
    unseen: Annotated[
        list[str] | None,
        typer.Option(
            help="A scenario that the search does not see, to prove it on; none for none. Repeatable. Default: the "
            "bundled ones that are not searched and are quickly simulated.",
            metavar="SCENARIO",
        ),
    ] = None,
    seed: SeedOption = 0,
    executor: ExecutorOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
    out: OutOption = None,
    save: Annotated[Path | None, typer.Option(help="Write the recommended policy there.", metavar="FILE.toml")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a Markdown report there.", metavar="FILE.md")] = None,
) -> None:
    """Search for the policy to ship, and prove on unseen seeds and scenarios what is gained."""
    base = chosen_policy(policy, settings)
    space = _space(search)
    wanted = _objectives(objectives)
    others: Any = None if not unseen else [] if unseen == ["none"] else unseen
    for path in (save, report):
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError(f"{path} can't be written: there is no folder {path.absolute().parent}")

    def work(kept: Results, tell: Callable[[Progress], None]) -> Tuning:
        from hustle_sim.tuning.tune import tune as tune_policy

        return tune_policy(
            list(scenarios), base, space, wanted, trials, executor, constraints=slo, robust=robust,  # type: ignore[arg-type]
            replications=replications, verify=verify, unseen=others, front_size=front, seed=seed, results=kept,
            progress=tell,
        )  # fmt: skip

    found = worked(work, results, out)
    if save is not None:
        _write(save, commented(found))
    if report is not None:
        _write(report, found.markdown())
    if as_json:
        print_json({"about": found.about, "front": _rows(found.front), "presets": _rows(found.presets),
                    "proof": _rows(found.proof), "report": found.report()})  # fmt: skip
        return
    print_tuning(found)


def print_tuning(found: Tuning) -> None:
    """The front beside the presets, the proof, and what follows from it."""
    from hustle_sim.analysis import format_metric
    from hustle_sim.tuning.tune_report import changes, difference, headline, marked, sentences, spread

    metrics = [objective.metric for objective in found.objectives]
    first, count = found.about["seeds"]["choice"]
    title = f"The front and the presets · seeds {first} to {first + count - 1}"
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column("Policy", no_wrap=True)
    for name in metrics:
        grid.add_column(name, justify="right", overflow="fold")
    for row in pd.concat([found.front, found.presets]).to_dict("records"):
        cells = [f"{format_metric(name, row[name])} ± {spread(name, row)}" for name in metrics]
        grid.add_row(*map(Text, [marked(row), *cells]), style="bold" if row["recommended"] else "")
    console.print(grid)
    proof = found.proof
    for scope in list(dict.fromkeys(proof["scope"]))[: 2 if found.about["unseen"] else 1]:
        console.print()
        console.print(
            _proof_grid(found, proof[proof["scope"] == scope], f"{found.winner} against each · {scope}", difference)
        )
    console.print()
    for each in (headline(found), *sentences(found)):
        console.print(each, markup=False, highlight=False, soft_wrap=True)
    console.print()
    grid = Grid("Field", "Before", "Tuned", box=None, pad_edge=False)
    for change in changes(found):
        grid.add_row(*map(Text, change))
    console.print(grid)


def commented(found: Tuning) -> str:
    """The recommended policy as TOML, with what was found as a comment above it."""
    from hustle_sim.tuning.tune_report import headline

    made = f"Made with hustle-sim tune, version {found.about['version']}."
    return f"# {headline(found)}\n# {made}\n\n{found.policy.to_toml()}"


def _proof_grid(found: Tuning, rows: pd.DataFrame, title: str, words: Callable[..., str]) -> Grid:
    first, count = found.about["seeds"]["proof"]
    title = f"{title} · unseen seeds {first} to {first + count - 1}"
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column("Against", no_wrap=True)
    metrics = list(dict.fromkeys(rows["metric"]))
    for name in metrics:
        grid.add_column(name, justify="right", overflow="fold")
    for other, own in rows.groupby("policy", sort=False):
        by_metric = {str(row["metric"]): row for row in own.to_dict("records")}
        cells = [
            Text(
                words(name, by_metric[name], interval=False),
                style={"better": "green", "worse": "red"}.get(by_metric[name]["verdict"], ""),
            )
            for name in metrics
        ]
        grid.add_row(Text(str(other)), *cells)
    return grid


def _space(settings: Sequence[str] | None) -> dict[str, Any] | None:
    """``retry.base_s=0.1..2`` as a range, ``retry.jitter=full,equal`` as a list, a name alone for its usual values."""
    if not settings:
        return None
    named = [setting.strip() for setting in settings if "=" not in setting]
    given = axes_of([setting for setting in settings if "=" in setting], "--search")
    twice = next((name for name in named if name in given or named.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--search {twice}: it is named twice; write all its values at once")
    return {**dict.fromkeys(named), **given}


def _objectives(settings: Sequence[str] | None) -> dict[str, Any] | None:
    if not settings:
        return None
    return {name.strip(): better.strip() or None for name, _, better in (each.partition("=") for each in settings)}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): number(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _write(path: Path, words: str) -> None:
    try:
        path.write_text(words, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from None
    err.print(f"Saved in {path}.", markup=False, soft_wrap=True)
