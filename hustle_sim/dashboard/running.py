"""How far a long simulation is, with a button to end it.

A component of our own that hides itself: Bokeh lays out the whole page anew, with every plot in it, whenever the
visibility of one of its own boxes changes.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import param

_ESM = """
export function render({model}) {
  const root = document.createElement("div")
  root.className = "running"
  root.innerHTML = `<span class="words" aria-hidden="true"></span>
    <div class="track" role="progressbar" aria-label="Simulating" aria-valuemin="0" aria-valuemax="100"><i></i></div>
    <button type="button">Cancel</button>`
  const track = root.querySelector(".track")
  const draw = () => {
    const done = Math.round(100 * model.share)
    root.hidden = !model.running
    root.querySelector(".words").textContent = `Simulating… ${done} %`
    root.querySelector("i").style.width = `${done}%`
    track.setAttribute("aria-valuenow", String(done))
  }
  root.querySelector("button").addEventListener("click", () => model.send_msg({type: "cancel"}))
  model.on(["running", "share"], draw)
  draw()
  return root
}
"""

_CSS = """
:host { display: block; font: 13.5px/1.4 var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); }
.running { display: flex; align-items: center; gap: 12px; padding-top: 6px; width: 100%; box-sizing: border-box; }
.running[hidden] { display: none; }
.words { white-space: nowrap; font-variant-numeric: tabular-nums; }
.track { flex: 1; height: 6px; border-radius: 3px; overflow: hidden; background: var(--mui-palette-hustle-line); }
i { display: block; height: 100%; border-radius: 3px; background: var(--mui-palette-primary-main); }
button { padding: 5px 14px; border-radius: 8px; font: inherit; cursor: pointer; background: none;
         color: var(--mui-palette-primary-main); border: 1px solid var(--mui-palette-primary-main); }
button:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: 2px; }
"""


class Running(pn.custom.JSComponent):
    """Shown while ``running``; ``cancel`` is called when a person wants it to end."""

    running = param.Boolean(default=False)
    share = param.Number(default=0.0, bounds=(0, 1))

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, cancel: Callable[[], None] = lambda: None, **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
        self._cancel = cancel

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict) and data.get("type") == "cancel":
            self._cancel()
