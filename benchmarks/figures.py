"""A run of a million attempts, drawn and explored: ``python -m benchmarks.figures``.

The run is one that was simulated, copied side by side in time until it has that many attempts: its figures cost what
those of a long run do. With Chromium and playwright installed, the same is measured in a page: from its address to
drawn figures, and from a turn of the wheel to the attempts counted anew. ``--attempts`` makes it smaller.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from hustle_sim import Policy, Run, Scenario, simulate
from hustle_sim.analysis.density import density_data
from hustle_sim.analysis.figure_sets import WHOLE
from hustle_sim.analysis.frames import typed
from hustle_sim.analysis.moment import moment
from hustle_sim.dashboard.charts import SHOWN, drawn
from hustle_sim.dashboard.story import Story, told

ATTEMPTS = 1_000_000
_WAIT_MS = 180_000

# How much time the images show: that of the whole run, and less when the attempts were counted anew.
_SHOWN_S = """
() => Math.max(0, ...Bokeh.documents.flatMap((doc) => [...doc._all_models.values()])
  .filter((model) => model.type === "ColumnDataSource")
  .map((model) => model.data instanceof Map ? model.data.get("dw") : model.data.dw)
  .filter((spans) => spans?.length).map((spans) => Number(spans[0])))
"""


def large(attempts: int = ATTEMPTS) -> Run:
    """A run of at least so many attempts, of 50 people, with an outage every six hours."""
    scenario = Scenario.load("morning-outage").replace(
        {"duration_s": 6 * 3600.0, "warm_up_s": 0, "clients.count": 50, "clients.messages_per_hour": 60,
         "clients.profile": "flat", "backend.capacity": 100,
         "outages": [{"mode": "hang", "at_s": 7200, "lasts_s": 900}]}
    )  # fmt: skip
    one = simulate(scenario, seed=1)
    copies = -(-attempts // len(one.attempts))
    frames = {name: _side_by_side(name, frame, copies, one.duration_s) for name, frame in one.frames.items()}
    return Run(
        frames, policy=one.policy, start=one.start, duration_s=copies * one.duration_s, scenario=one.scenario,
        label=f"{len(frames['attempts']):,} attempts",
    )  # fmt: skip


def _side_by_side(name: str, frame: pd.DataFrame, copies: int, duration_s: float) -> pd.DataFrame:
    times = [column for column in ("time_s", "start_s", "end_s") if column in frame]
    number = np.repeat(np.arange(copies), len(frame))
    made = pd.concat([frame] * copies, ignore_index=True)
    for column in times:
        made[column] = made[column].to_numpy() + number * duration_s
    if "message_id" in made:
        ids = made["message_id"].astype(object).to_numpy()
        made["message_id"] = [f"{one}-{copy}" if one else "" for one, copy in zip(ids, number.tolist(), strict=True)]
    return typed(name, made.sort_values(times[0], kind="stable", ignore_index=True))


def measure(run: Run) -> dict[str, float]:
    """Seconds of the server's share, without a browser."""
    figures: dict[str, float] = {"attempts": float(len(run.attempts))}
    figures["data of the open figures, s"] = _seconds(lambda: drawn([run], SHOWN))
    figures["data of all figures, s"] = _seconds(lambda: drawn([run], WHOLE))
    steps = []
    low, high = 0.0, run.duration_s
    for _ in range(12):
        low, high = low + (high - low) * 0.2, high - (high - low) * 0.2
        steps.append(_seconds(lambda low=low, high=high: density_data(run, (low, high))))  # type: ignore[misc]
    figures["a step of zoom, median s"] = statistics.median(steps)
    figures["a step of zoom, worst s"] = max(steps)
    ready: list[Any] = []
    figures["time travel made ready, s"] = _seconds(lambda: ready.append(told(run, "")))
    moments = [
        _seconds(lambda at_s=at_s: moment(ready[0].timeline, at_s, ready[0].client))  # type: ignore[misc]
        for at_s in np.linspace(0, run.duration_s, 50)
    ]
    figures["a moment, median ms"] = statistics.median(moments) * 1000
    return figures


def update() -> dict[str, float]:
    """Milliseconds from a finished run of the default scenario to figures that are sent, in plots that are there."""
    from bokeh.document import Document
    from panel.io.state import set_curdoc

    scenario = Scenario.load("morning-outage")
    runs = [simulate(scenario, Policy().replace({"probe.interval_s": interval_s}), 7) for interval_s in (300, 60)]
    story = Story()
    document = Document()
    with set_curdoc(document):
        story.show_at_once(runs[0])
        story.__panel__().server_doc(document)
        times = [_seconds(lambda run=run: asyncio.run(story.show(run))) * 1000 for run in runs[::-1] * 5]  # type: ignore[misc]
    story.close()
    return {"default scenario: a new run into the plots, median ms": statistics.median(times[1:])}


def browsed(run: Run) -> dict[str, float]:
    """Seconds in Chromium: from the address to drawn figures, and from a turn of the wheel to new counts."""
    import panel as pn
    from playwright.sync_api import sync_playwright

    def page() -> Any:
        story = Story()
        story.show_at_once(run)
        return story.__panel__()

    port = _free_port()
    server = pn.serve(page, port=port, threaded=True, show=False)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox", "--disable-gpu"])
            tab = browser.new_page(viewport={"width": 1400, "height": 1000})
            tab.set_default_timeout(_WAIT_MS)
            began = perf_counter()
            tab.goto(f"http://localhost:{port}/")
            tab.wait_for_function(f"() => window.Bokeh && ({_SHOWN_S})() > 0")
            tab.locator(".figure-latency canvas").first.wait_for()
            tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            figures = {"address to drawn figures, s": perf_counter() - began}
            figure = tab.locator(".figure-latency")
            figure.scroll_into_view_if_needed()
            box = figure.bounding_box()
            assert box is not None
            tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            steps = []
            for _ in range(6):
                before = tab.evaluate(_SHOWN_S)
                began = perf_counter()
                tab.mouse.wheel(0, -120)
                tab.wait_for_function(f"() => ({_SHOWN_S})() < {before}")
                steps.append(perf_counter() - began)
            figures["a turn of the wheel to new counts, median s"] = statistics.median(steps)
            figures["a turn of the wheel to new counts, worst s"] = max(steps)
            browser.close()
    finally:
        server.stop()
    return figures


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=ATTEMPTS)
    parser.add_argument("--no-browser", action="store_true")
    chosen = parser.parse_args()
    run = large(chosen.attempts)
    figures = {**measure(run), **update(), **({} if chosen.no_browser else browsed(run))}
    for name, value in figures.items():
        print(f"{name:60} {value:>14,.3f}")


if __name__ == "__main__":
    main()
