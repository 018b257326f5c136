"""The menu of places in the header: real links, so that each place has an address of its own."""

# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import panel as pn
import param

PLACES = {"simulate": "Simulate", "live": "Live", "queue": "Queue"}
"""The places by their name in the address, in the order of the menu."""

_ESM = """
export function render({model}) {
  const nav = document.createElement("nav")
  nav.setAttribute("aria-label", "Places")
  const draw = () => {
    nav.replaceChildren(...model.places.map(([name, words]) => {
      const link = document.createElement("a")
      const address = new URL(window.location.href)
      address.search = new URLSearchParams({place: name})
      link.href = address.toString()
      link.textContent = words
      if (name === model.place) { link.setAttribute("aria-current", "page") }
      link.addEventListener("click", (event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) { return }
        event.preventDefault()
        model.place = name
      })
      return link
    }))
  }
  model.on(["place", "places"], draw)
  draw()
  return nav
}
"""

_CSS = """
:host { display: block; }
nav { display: flex; gap: 4px; height: 100%; align-items: center; padding-left: 18px; }
a { color: #C9D2E8; text-decoration: none; font: 500 15px/1 var(--bokeh-base-font, sans-serif); padding: 10px 14px;
    border-radius: 8px; }
a:hover { color: #fff; background: #ffffff1a; }
a[aria-current=page] { color: #fff; background: #ffffff26; }
a:focus-visible { outline: 3px solid #9DB4F5; outline-offset: 1px; }
@media (max-width: 520px) { nav { padding-left: 2px; gap: 0; } a { padding: 10px 9px; font-size: 14px; } }
"""


class Places(pn.custom.JSComponent):
    """A menu; ``place`` is where the visitor is."""

    place = param.Selector(default="simulate", objects=list(PLACES))
    places = param.List(default=[list(item) for item in PLACES.items()])

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, "height": 48, "sizing_mode": "stretch_width", **params})
