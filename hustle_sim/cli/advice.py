"""``hustle-sim explain | lint``: what a policy does, and what is the matter with it, without a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from hustle_sim.cli.common import SetOption, chosen_policy, console, print_json
from hustle_sim.inputs import InputError

if TYPE_CHECKING:
    from hustle_sim.simulation import Scenario

PolicyArgument = Annotated[
    str | None, typer.Argument(help="A preset or a TOML file (default: the default policy).", metavar="NAME|FILE")
]
PolicyOption = Annotated[str | None, typer.Option("--policy", "-p", help="The same.", metavar="NAME|FILE")]
ScenarioOption = Annotated[
    str | None,
    typer.Option(help="Take messages, latency and outages from this scenario (a bundled one or a TOML file)."),
]
RateOption = Annotated[float, typer.Option("--rate", help="Messages an hour of each client, without a scenario.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def explain(
    policy: PolicyArgument = None,
    policy_option: PolicyOption = None,
    settings: SetOption = None,
    scenario: ScenarioOption = None,
    rate: RateOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Say in plain words what a policy does: waits, attempts, load, breaker, verdicts, queue."""
    from hustle_sim.tuning.explain import explain as explained

    card = explained(chosen_policy(_one_of(policy, policy_option), settings), _loaded(scenario), messages_per_hour=rate)
    if as_json:
        print_json(card.to_dict())
        return
    table = Table("What", "How much", "What it says", box=None, pad_edge=False)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[1].justify = "right"
    for row in card.rows:
        table.add_row(Text(row.title), Text(row.shown), Text(row.sentence))
    console.print(Text(card.assumes), highlight=False)
    console.print()
    console.print(table, highlight=False)


def lint(
    policy: PolicyArgument = None,
    policy_option: PolicyOption = None,
    settings: SetOption = None,
    scenario: ScenarioOption = None,
    rate: RateOption = 60.0,
    sdk_retries: Annotated[int, typer.Option(help="How often the SDK below repeats a request by itself.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List what is the matter with a policy, and what would mend it. Exit code 1 if there is an error among it."""
    from hustle_sim.tuning.lint import lint as linted

    findings = linted(
        chosen_policy(_one_of(policy, policy_option), settings),
        _loaded(scenario),
        messages_per_hour=rate,
        sdk_retries=sdk_retries,
    )
    if as_json:
        print_json([finding.to_dict() for finding in findings])
    else:
        for finding in findings:
            console.print(Text(f"{finding.severity}: {finding.code}", style="bold"), highlight=False)
            console.print(Text(f"  {finding.sentence}"), soft_wrap=True, highlight=False)
            console.print(Text(f"  {finding.mend}"), soft_wrap=True, highlight=False)
            if finding.changes:
                settings = [f"--set {name}={_written(value)}" for name, value in finding.changes.items()]
                console.print(Text(f"  {' '.join(settings)}"), soft_wrap=True, highlight=False)
        number = {each: sum(finding.severity == each for finding in findings) for each in ("error", "warning", "note")}
        words = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in number.items() if count)
        console.print(Text(words or "Nothing to say."), highlight=False)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def _one_of(argument: str | None, option: str | None) -> str:
    if argument is not None and option is not None:
        raise InputError(f"the policy is named twice, {argument} and --policy {option}: name one")
    return argument or option or "default"


def _loaded(scenario: str | None) -> Scenario | None:
    from hustle_sim.simulation import Scenario

    return None if scenario is None else Scenario.load(scenario)


def _written(value: float | int | bool | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)
