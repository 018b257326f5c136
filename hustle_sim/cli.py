"""The command line: ``hustle-sim run | scenarios | policy | queue | probe | serve``.

Results go to standard output, everything else to standard error. Bad input is one sentence and exit code 2.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hustle_sim._version import __version__
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.queue_cli import queue_app

if TYPE_CHECKING:
    from hustle_sim.analysis import Run
    from hustle_sim.live import Settings

app = typer.Typer(
    name="hustle-sim",
    help="Your app's AI backend will fail: see what your users will see, and tune timeouts and backoff.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
policy_app = typer.Typer(help="Show or save a policy.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(policy_app, name="policy")
app.add_typer(queue_app, name="queue")

_out = Console()
_err = Console(stderr=True, highlight=False)

PolicyOption = Annotated[
    str, typer.Option("--policy", "-p", help=f"A preset ({', '.join(PRESETS)}) or a TOML file.", metavar="NAME|FILE")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Change one field: probe.interval_s=60s. Repeatable.", metavar="FIELD=VALUE"),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with 0, 1 (a fault of ours), 2 (bad input) or 130 (Ctrl-C)."""
    try:
        app(args=list(arguments) if arguments is not None else None, standalone_mode=True)
    except InputError as error:
        _err.print(f"hustle-sim: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        _err.print("hustle-sim: stopped.")
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


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A bundled scenario (see: hustle-sim scenarios) or a TOML file.")],
    policy: PolicyOption = "default",
    settings: SetOption = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run, to the last bit.")] = 0,
    wire: Annotated[bool, typer.Option(help="Drive the real HTTP client down to a simulated wire.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Save the run (Parquet and JSON) in this folder.")] = None,
) -> None:
    """Simulate a scenario with a policy, and print what people would have seen."""
    from hustle_sim.analysis.run import check_folder
    from hustle_sim.simulation import Scenario, simulate

    chosen = _policy(policy, settings)
    world = Scenario.load(scenario)
    if out is not None:
        check_folder(out)
    with _progress() as progress:
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
        _err.print(f"Saved in {out}.", markup=False, soft_wrap=True)
    if as_json:
        _print_json({name: _number(value) for name, value in result.metrics.items()})
    else:
        _print_metrics(result, f"{world.name} · {policy} · seed {seed}")


@app.command()
def scenarios() -> None:
    """List the bundled scenarios, and what each teaches."""
    from hustle_sim.simulation import Scenario

    table = Table("Scenario", "Lasts", "Clients", "What it teaches", box=None, pad_edge=False)
    for name in Scenario.bundled():
        scenario = Scenario.load(name)
        table.add_row(name, format_duration(scenario.duration_s), str(scenario.clients.count), scenario.description)
    _out.print(table)


@policy_app.command("show")
def policy_show(
    policy: Annotated[str, typer.Argument(help="A preset or a TOML file.", metavar="NAME|FILE")] = "default",
    settings: SetOption = None,
) -> None:
    """Print a policy as TOML, each field with its unit and reason."""
    typer.echo(_policy(policy, settings).to_toml(), nl=False)


@policy_app.command("save")
def policy_save(
    path: Annotated[Path, typer.Argument(help="The TOML file to write.")],
    policy: PolicyOption = "default",
    settings: SetOption = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file if it is there.")] = False,
) -> None:
    """Save a policy as TOML, to be edited and used with --policy."""
    chosen = _policy(policy, settings)
    if path.exists() and not force:
        raise InputError(f"{path} is there already: name another file, or add --force to overwrite it")
    try:
        chosen.save(path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from None
    _err.print(f"Saved {path}.", markup=False, soft_wrap=True)


@app.command()
def probe(
    url: Annotated[str | None, typer.Argument(help="The backend; default: HUSTLE_BACKEND_URL from .env.")] = None,
    watch: Annotated[bool, typer.Option(help="Keep probing and print each verdict until Ctrl-C.")] = False,
    policy: PolicyOption = "default",
    settings: SetOption = None,
) -> None:
    """Ask a real backend whether it is well: once, or for as long as you watch."""
    from hustle_sim.live import Settings

    found = Settings.load()
    if url is not None:
        found = found.model_copy(update={"backend_url": url})
    if not found.backend_url:
        raise InputError("no backend to probe: name a URL, or set HUSTLE_BACKEND_URL in .env")
    chosen = Policy.from_environment(_policy(policy, settings))
    asyncio.run(_watch(found, chosen) if watch else _probe_once(found, chosen))


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="The port; default: 5006, or a free one if that is taken.")] = None,
    show: Annotated[bool, typer.Option(help="Open the browser.")] = False,
) -> None:
    """Serve the dashboard on this machine (loopback only)."""
    from hustle_sim.dashboard import serve as serve_dashboard

    serve_dashboard(port=port, show=show)


@app.command()
def soak(
    cases: Annotated[int | None, typer.Option(help="So many cases; default: until Ctrl-C.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
) -> None:
    """Crash simulated apps at random moments, break their store and backend, and check that nothing is lost."""
    from hustle_sim.simulation.soak import account, shrink
    from hustle_sim.simulation.soak import soak as run_soak

    with _progress() as progress:
        task = progress.add_task("cases", total=cases)
        result = run_soak(
            seed, cases, tell=lambda now: progress.update(task, completed=now.cases, description=f"{now.cases:,} cases")
        )
    table = Table("Soak", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, value in result.lines():
        table.add_row(name, value)
    _out.print(table)
    for verdict in result.failed:
        _out.print(account(verdict), markup=False, soft_wrap=True)
    if result.failed:
        smallest = shrink(result.failed[0].case)
        _out.print(f"the first, shrunk: hustle-sim replay '{smallest.to_json()}'", markup=False, soft_wrap=True)
        raise typer.Exit(1)


@app.command()
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


async def _probe_once(settings: Settings, policy: Policy) -> None:
    from hustle_sim.resilience.backend import within
    from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome

    backend = settings.backend()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        response = await within(policy.probe.timeout_s, backend.health())
    finally:
        await backend.aclose()
    took = format_duration(loop.time() - began_s)
    if response.outcome is not Outcome.OK:
        code = f", HTTP {response.status_code}" if response.status_code is not None else ""
        words = CONSEQUENCES[response.outcome].words.rstrip(".")
        raise InputError(f"{settings.backend_url} is not well after {took}: {response.outcome.value}{code} ({words})")
    version = f", version {response.version}" if response.version else ""
    _out.print(f"{settings.backend_url} is online: {took}{version}", markup=False, soft_wrap=True, highlight=False)


async def _watch(settings: Settings, policy: Policy) -> None:
    from hustle_sim.live import live_world
    from hustle_sim.resilience.health import Health, HealthMonitor

    def show(previous: Health, current: Health) -> None:
        if current.verdicts == previous.verdicts or current.last_check is None:
            return
        latency = format_duration(current.latency_s or 0.0)
        line = f"{current.last_check.astimezone():%H:%M:%S}  {current.status.value:9} {latency:>8}  {current.message}"
        _out.print(line, markup=False, soft_wrap=True, highlight=False)

    backend = settings.backend()
    monitor = HealthMonitor(backend, policy.probe, live_world())
    monitor.subscribe(show)
    _err.print(f"Probing {settings.backend_url}; Ctrl-C ends it.", markup=False, soft_wrap=True)
    try:
        await monitor.run()
    finally:
        await backend.aclose()


def _policy(name: str, settings: list[str] | None) -> Policy:
    changes: dict[str, object] = {}
    for setting in settings or ():
        field, sign, value = setting.partition("=")
        if not sign:
            raise InputError(f"--set {setting}: write a field and a value, such as --set probe.interval_s=60s")
        changes[field.strip()] = value.strip()
    return Policy.load(name).replace(changes)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=_err,
        transient=True,
    )


def _print_metrics(result: Run, title: str) -> None:
    from hustle_sim.analysis import METRICS, format_metric

    table = Table("Metric", "Value", "What it says", title=title, title_justify="left", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, metric in METRICS.items():
        table.add_row(name, format_metric(name, result.metrics[name]), metric.text)
    _out.print(table)


def _number(value: float) -> float | None:
    """JSON has no NaN: a metric without a basis is null."""
    return None if math.isnan(value) else float(value)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
