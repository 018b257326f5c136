"""``hustle-sim probe | serve``: the real clock and a real backend."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Annotated

import typer

from hustle_sim.cli.common import PolicyOption, SetOption, chosen_policy, console, err
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    from hustle_sim.live import Settings


class Auth(enum.StrEnum):
    """Ways to log in to a served dashboard."""

    NONE = "none"
    BASIC = "basic"
    OAUTH = "oauth"


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
    address: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is all of this machine's.")
    ] = "127.0.0.1",
    auth: Annotated[
        Auth,
        typer.Option(help="Who may come in: everyone, whoever knows HUSTLE_PASSWORD, or whom an OAuth provider knows."),
    ] = Auth.NONE,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="A host under which people open it, such as tools.example.com. Repeatable.", metavar="HOST"),
    ] = None,
    prefix: Annotated[str, typer.Option(help="The path under which a proxy offers it, such as /hustle.")] = "",
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Believe the X-Forwarded-... headers of a reverse proxy.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Open the browser.")] = False,
) -> None:
    """Serve the dashboard: on this machine only, or to others with --address, --auth and --allow-origin.

    Secrets come from the environment or .env. For basic: HUSTLE_PASSWORD or HUSTLE_CREDENTIALS_FILE. For oauth:
    HUSTLE_OAUTH_PROVIDER, HUSTLE_OAUTH_KEY, HUSTLE_OAUTH_SECRET, HUSTLE_COOKIE_SECRET. GET /health tells how it is.
    """
    from hustle_sim.dashboard import serve as serve_dashboard
    from hustle_sim.dashboard.serving import Serving, exposed

    serving = Serving.of(
        port=port, address=address, prefix=prefix, origins=allow_origin or (), behind_proxy=behind_proxy,
        auth=auth.value,
    )  # fmt: skip
    if warning := exposed(serving):
        err.print(f"Warning: {warning}", markup=False, soft_wrap=True)
    serve_dashboard(serving, show=show)


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
