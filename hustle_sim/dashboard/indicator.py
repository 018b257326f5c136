"""The status indicator: icon, word, latency and age of the verdict; it pulses while probing, a click probes now.

Colour is never the only sign: every status has a shape and a word of its own. A screen reader hears a status when it
changes, not at every probe.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import panel as pn
import param

from hustle_sim.analysis.palette import STATUS
from hustle_sim.inputs import format_duration
from hustle_sim.resilience.health import Health, Status

WORDS = {status: STATUS[status.value].word.capitalize() for status in Status}
"""The word of each status; ``IDLE`` is shown when nothing is watched."""

IDLE = "Not watching"

START = "Start watching to see how the backend is."

SHAPES_JS = """{
  online: '<circle cx="12" cy="12" r="10"/><path class="ink" d="M7 12.5l3.4 3.4L17 9"/>',
  degraded: '<path d="M12 2.2L23 21.5H1z"/><path class="ink" d="M12 9v6M12 17.6v1.2"/>',
  offline: '<rect x="2.5" y="2.5" width="19" height="19" rx="3"/><path class="ink" d="M8 8l8 8M16 8l-8 8"/>',
  checking: '<circle class="ring" cx="12" cy="12" r="9"/><path class="hand" d="M12 7v5.2l3.4 2"/>',
  idle: '<circle class="ring" cx="12" cy="12" r="9"/><path class="hand" d="M8 12h8"/>',
}
"""
"""The shape of each status, as an object of JavaScript."""

AGE_JS = """
function age(seconds) {
  if (seconds < 1.5) { return "just now" }
  if (seconds < 90) { return `${Math.round(seconds)} s ago` }
  if (seconds < 5400) { return `${Math.round(seconds / 60)} min ago` }
  return `${Math.round(seconds / 3600)} h ago`
}
"""
"""A function of JavaScript: seconds as "12 s ago"."""

_ESM = (
    "const SHAPES = "
    + SHAPES_JS
    + AGE_JS
    + """
export function render({model, el}) {
  const button = document.createElement("button")
  button.type = "button"
  button.className = "indicator"
  button.innerHTML = `
    <svg viewBox="0 0 24 24" aria-hidden="true"></svg>
    <span class="words"><span role="status" aria-live="polite"><span class="unseen"></span><span
      class="word"></span></span><span class="fine"></span></span>
    <span class="act" aria-hidden="true">Probe now</span>`
  const shape = button.querySelector("svg")
  const word = button.querySelector(".word")
  const whose = button.querySelector(".unseen")
  const fine = button.querySelector(".fine")
  let since = performance.now()

  const tell = () => {
    const parts = []
    if (model.latency) { parts.push(model.latency) }
    if (model.age_s >= 0) { parts.push(age(model.age_s + (performance.now() - since) / 1000)) }
    const text = model.probing ? "Probing…" : parts.join(" · ") || model.note
    if (fine.textContent !== text) { fine.textContent = text }
  }
  const draw = () => {
    const status = SHAPES[model.status] ? model.status : "idle"
    if (button.dataset.status !== status) {
      button.dataset.status = status
      shape.innerHTML = SHAPES[status]
    }
    const name = model.label ? `${model.label}: ` : ""
    if (whose.textContent !== name) { whose.textContent = name }
    if (word.textContent !== model.word) { word.textContent = model.word }
    button.setAttribute("aria-busy", model.probing ? "true" : "false")
    const off = model.probing || !model.watching
    button.setAttribute("aria-disabled", off ? "true" : "false")
    button.title = model.note
    button.setAttribute("aria-label", name + (model.watching ? `${model.word}. Probe now` : model.word))
    tell()
  }
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") { return }
    button.setAttribute("aria-disabled", "true")
    button.setAttribute("aria-busy", "true")
    model.send_msg({type: "probe"})
  })
  const seen = () => { since = performance.now(); draw() }
  model.on(["label", "status", "word", "latency", "probing", "watching", "note"], draw)
  model.on(["age_s", "beat"], seen)
  const ticking = setInterval(tell, 1000)
  model.on("remove", () => clearInterval(ticking))
  draw()
  return button
}
"""
)

_CSS = """
:host { display: block; }
.indicator {
  --hue: var(--mui-palette-hustle-quiet); --ink-text: var(--mui-palette-hustle-quiet);
  display: flex; align-items: center; gap: 14px; width: 100%; min-height: 68px; padding: 10px 16px;
  border: 1.5px solid var(--hue); border-radius: 12px; background: var(--mui-palette-hustle-card);
  color: var(--mui-palette-text-primary); font: inherit; font-family: var(--bokeh-base-font, sans-serif);
  text-align: left; cursor: pointer; transition: border-color .2s, background-color .2s; box-sizing: border-box;
}
.indicator[data-status=online] {
  --hue: var(--mui-palette-hustle-online); --ink-text: var(--mui-palette-hustle-onlineText);
}
.indicator[data-status=degraded] {
  --hue: var(--mui-palette-hustle-degraded); --ink-text: var(--mui-palette-hustle-degradedText);
}
.indicator[data-status=offline] {
  --hue: var(--mui-palette-hustle-offline); --ink-text: var(--mui-palette-hustle-offlineText);
}
.indicator[data-status=checking] {
  --hue: var(--mui-palette-hustle-checking); --ink-text: var(--mui-palette-hustle-checkingText);
}
.indicator svg { width: 34px; height: 34px; flex: none; fill: var(--hue); overflow: visible; }
.indicator svg .ink, .indicator svg .hand {
  fill: none; stroke: #fff; stroke-width: 2.2; stroke-linecap: round; stroke-linejoin: round;
}
.indicator svg .ring { fill: none; stroke: var(--hue); stroke-width: 2.2; }
.indicator svg .hand { stroke: var(--hue); }
.words { display: flex; flex-direction: column; flex: 1; min-width: 0; }
.word { font-size: 19px; font-weight: 600; line-height: 1.25; color: var(--ink-text); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: pre; }
.fine { font-size: 13px; line-height: 1.35; min-height: 1.35em; color: var(--mui-palette-hustle-quiet);
        font-variant-numeric: tabular-nums; }
.act { flex: none; font-size: 13px; font-weight: 500; padding: 4px 10px; border-radius: 6px;
       border: 1px solid var(--mui-palette-hustle-line); color: var(--mui-palette-text-primary); }
.indicator:hover .act { border-color: var(--hue); }
.indicator:focus { outline: none; }
.indicator:focus-visible { outline: 3px solid var(--mui-palette-primary-main); outline-offset: 2px; }
.indicator[aria-disabled=true] { cursor: default; }
.indicator[aria-disabled=true] .act { opacity: .45; }
.indicator[aria-busy=true] svg { animation: pulse 1s ease-in-out infinite; transform-origin: center; }
@keyframes pulse { 0%, 100% { transform: scale(1); opacity: 1 } 50% { transform: scale(1.16); opacity: .62 } }
@media (prefers-reduced-motion: reduce) {
  .indicator { transition: none; }
  .indicator[aria-busy=true] svg { animation: none; opacity: .55; }
}
"""


class StatusIndicator(pn.custom.JSComponent):
    """A button that shows what the monitor knows; ``on_probe`` is called when a person clicks it."""

    status = param.String(default="idle", doc="checking, online, degraded, offline, or idle when nothing is watched.")
    label = param.String(default="", doc="Whose status it is, for a screen reader; empty where there is only one.")
    word = param.String(default=IDLE)
    latency = param.String(default="", doc="Of the last probe, as text.")
    age_s = param.Number(default=-1, doc="Age of the verdict when it was sent; the browser counts on. -1: none yet.")
    beat = param.Integer(default=0, doc="Grows with each probe that ended, so that an equal age counts anew.")
    probing = param.Boolean(default=False)
    watching = param.Boolean(default=False)
    note = param.String(default=START)

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, on_probe: Callable[[], Awaitable[None]] | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._on_probe = on_probe

    def show(self, health: Health | None, now_s: float) -> None:
        """Show ``health`` (None: nothing is watched); ``now_s`` is the wall time that ages are counted to."""
        self.param.update(**seen(health, now_s))

    def _handle_msg(self, data: Any) -> None:
        if self._on_probe is not None and isinstance(data, dict) and data.get("type") == "probe":
            pn.state.execute(self._on_probe)


def seen(health: Health | None, now_s: float) -> dict[str, Any]:
    """What the indicator shows for ``health`` at the wall time ``now_s``."""
    if health is None:
        return {
            "status": "idle", "word": IDLE, "latency": "", "age_s": -1, "probing": False, "watching": False,
            "note": START,
        }  # fmt: skip
    status, at, note = health.status, health.last_check, health.message
    if status is Status.CHECKING and health.known_status is not None:
        status, at = health.known_status, health.known_at
        note = f"Last known: {WORDS[status].lower()}. {health.message}"
    return {
        "status": status.value,
        "word": WORDS[status],
        "latency": "" if health.latency_s is None else format_duration(health.latency_s),
        "age_s": -1 if at is None else max(0.0, now_s - at.timestamp()),
        "beat": health.verdicts,
        "probing": health.is_probing,
        "watching": True,
        "note": note,
    }
