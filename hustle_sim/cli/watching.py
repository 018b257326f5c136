"""``hustle-sim probe | serve``: the real clock and a real backend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from hustle_sim.cli.common import PolicyOption, SetOption, chosen_policy, console, err
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    from hustle_sim.live import Settings


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
    chosen = Policy.from_environment(chosen_policy(policy, settings))
    asyncio.run(_watch(found, chosen) if watch else _probe_once(found, chosen))


def serve(
    port: Annotated[int | None, typer.Option(help="The port; default: 5006, or a free one if that is taken.")] = None,
    show: Annotated[bool, typer.Option(help="Open the browser.")] = False,
) -> None:
    """Serve the dashboard on this machine (loopback only)."""
    from hustle_sim.dashboard import serve as serve_dashboard

    serve_dashboard(port=port, show=show)


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
    console.print(f"{settings.backend_url} is online: {took}{version}", markup=False, soft_wrap=True, highlight=False)


async def _watch(settings: Settings, policy: Policy) -> None:
    from hustle_sim.live import live_world
    from hustle_sim.resilience.health import Health, HealthMonitor

    def show(previous: Health, current: Health) -> None:
        if current.verdicts == previous.verdicts or current.last_check is None:
            return
        latency = format_duration(current.latency_s or 0.0)
        line = f"{current.last_check.astimezone():%H:%M:%S}  {current.status.value:9} {latency:>8}  {current.message}"
        console.print(line, markup=False, soft_wrap=True, highlight=False)

    backend = settings.backend()
    monitor = HealthMonitor(backend, policy.probe, live_world())
    monitor.subscribe(show)
    err.print(f"Probing {settings.backend_url}; Ctrl-C ends it.", markup=False, soft_wrap=True)
    try:
        await monitor.run()
    finally:
        await backend.aclose()
