"""The line to the server: a page that loses it says so, waits for the server, and comes back by itself.

A session is over when its line is cut, so the page is loaded anew as soon as the server answers. Its address holds
what it showed: a dashboard on a wall goes on after the server was restarted.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import panel as pn

_ESM = """
const GONE = "The server is gone. This page shows what it knew last, and will load again when the server is back."
const BACK = "The server is back. Loading…"

export function render({view}) {
  const place = document.createElement("span")
  let banner = null
  let timer = null
  const say = (sentence) => {
    if (banner === null) {
      banner = document.createElement("div")
      banner.id = "hustle-lifeline"
      banner.setAttribute("role", "alert")
      banner.style.cssText = "position:fixed;left:50%;bottom:18px;transform:translateX(-50%);z-index:20000;" +
        "box-sizing:border-box;width:max-content;max-width:calc(100vw - 24px);padding:12px 18px;border-radius:10px;" +
        "background:#18233F;color:#fff;border:2px solid #F1C426;box-shadow:0 6px 24px #0006;" +
        "font:500 15px/1.45 Roboto,'Segoe UI',system-ui,Arial,sans-serif"
      document.body.append(banner)
    }
    banner.textContent = sentence
  }
  const look = async (wait) => {
    try {
      // Any answer at all means that the server is there; the file is small and is there under every prefix.
      await fetch("static/js/bokeh.min.js", {method: "HEAD", cache: "no-store"})
    } catch {
      timer = setTimeout(() => look(Math.min(wait * 1.5, 30000)), wait)
      return
    }
    say(BACK)
    window.location.reload()
  }
  const lost = () => {
    if (banner !== null) { return }
    say(GONE)
    timer = setTimeout(() => look(1000), 1000)
  }
  // It comes twice: at once, and when attempts of Bokeh's own are over, which are turned off.
  view.model.document?.on_event("connection_lost", lost)
  view.model.on?.("remove", () => clearTimeout(timer))
  return place
}
"""


class Lifeline(pn.custom.JSComponent):
    """Nothing to see while all is well."""

    _esm = _ESM

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, "width": 0, "height": 0, "sizing_mode": "fixed", **params})
