"""A heading that opens and closes what is under it."""

# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import panel as pn
import param

_ESM = """
export function render({model}) {
  const button = document.createElement("button")
  button.type = "button"
  const draw = () => {
    button.setAttribute("aria-expanded", String(model.open))
    const [mark, title, about] = ["i", "b", "span"].map((tag) => document.createElement(tag))
    mark.textContent = model.open ? "▾" : "▸"
    mark.setAttribute("aria-hidden", "true")
    title.textContent = model.title
    about.textContent = model.about
    button.replaceChildren(mark, title, about)
  }
  button.addEventListener("click", () => { model.open = !model.open })
  model.on(["open", "title", "about"], draw)
  draw()
  return button
}
"""

_CSS = """
:host { display: block; width: 100%; }
button { width: 100%; display: flex; gap: 4px 10px; align-items: baseline; flex-wrap: wrap; text-align: left;
  cursor: pointer; color: var(--mui-palette-text-primary); background: none; border: 0; padding: 6px 4px;
  border-radius: 8px; font: 14px/1.35 var(--bokeh-base-font, sans-serif); }
button:hover { background: color-mix(in srgb, var(--mui-palette-primary-main) 8%, transparent); }
button:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: -2px; }
i { font-style: normal; width: 12px; } b { font-weight: 600; }
span { color: var(--mui-palette-hustle-quiet); font-size: 13px; }
"""


class Fold(pn.custom.JSComponent):
    """``open`` says whether what is under the heading is shown; show and hide it yourself."""

    title = param.String(default="")
    about = param.String(default="")
    open = param.Boolean(default=True)

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": (0, 0, 6, 0), "sizing_mode": "stretch_width", **params})
