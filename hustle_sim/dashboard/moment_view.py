"""A run at one moment: the state of each part in a sentence, and the coach's chat as the person saw it then."""

# mypy: allow-subclassing-any

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn
import param

from hustle_sim.analysis.palette import STATUS

if TYPE_CHECKING:
    from hustle_sim.analysis.moment import Moment

MESSAGES = 12
"""Messages of the chat that are sent to the page: those that fit into its frame, and some to scroll back to."""

_SUBJECTS = {
    "backend": "Backend", "monitor": "Monitor", "breaker": "Breaker", "queue": "Queue", "messages": "Messages",
}  # fmt: skip
_BREAKER_STATUS = {"closed": "online", "half_open": "degraded", "open": "offline"}
_SOFT = ("slow", "rate_limit", "brownout")


def facts(now: Moment) -> list[list[str]]:
    """A row for each part: its name, the status that it looks like (or an empty string), a glyph, a sentence."""
    looks = {
        "backend": _backend_status(now),
        "monitor": now.monitor.state if now.monitor is not None else "",
        "breaker": _BREAKER_STATUS.get(now.breaker.state, ""),
        "queue": "degraded" if now.queue_depth else "",
        "messages": "degraded" if now.waiting else "",
    }
    return [
        [words, looks[name], STATUS[looks[name]].glyph if looks[name] in STATUS else "·", now.words[name]]
        for name, words in _SUBJECTS.items()
        if name in now.words
    ]


def bubbles(now: Moment, most: int = MESSAGES) -> list[list[str]]:
    """The chat, oldest first: an id for each bubble, who, its state, its text, the note under it."""
    return [
        [f"{bubble.message_id}/{bubble.who}", bubble.who, bubble.state, bubble.text, bubble.note]
        for bubble in now.chat[-2 * most :]
    ]


def _backend_status(now: Moment) -> str:
    if now.backend is None:
        return ""
    if not now.backend.modes:
        return "online"
    return "degraded" if all(mode in _SOFT for mode in now.backend.modes) else "offline"


_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}
export function render({model}) {
  const title = make("h2")
  const facts = make("dl")
  // A column that is reversed stays at its end when it grows.
  const said = make("div", {className: "said"})
  const chat = make("div", {className: "chat", tabIndex: 0}, said)
  chat.setAttribute("role", "log")
  chat.setAttribute("aria-live", "off")
  chat.setAttribute("aria-label", "The coach's chat as the person saw it")
  const client = make("input", {type: "number", min: 0, step: 1})
  const choose = make("label", {className: "client"}, "as client ", client, " saw it")
  const nothing = make("p", {className: "nothing", textContent: "Nothing was said yet."})
  const head = make("h3", {}, "The coach's chat ")
  const root = make("div", {className: "moment"}, title, facts, head, choose, chat)

  const drawFacts = () => {
    title.textContent = model.title
    const rows = model.facts
    while (facts.children.length > rows.length) { facts.lastChild.remove() }
    rows.forEach(([name, status, glyph, sentence], place) => {
      const row = facts.children[place] ?? facts.appendChild(make("div", {}, make("dt", {}, make("i"), make("span")),
                                                                          make("dd")))
      row.dataset.part = name.toLowerCase()
      row.dataset.status = status
      row.querySelector("i").textContent = glyph
      row.querySelector("span").textContent = name
      const told = row.querySelector("dd")
      if (told.textContent !== sentence) { told.textContent = sentence }
    })
  }
  const drawChat = () => {
    const there = new Map([...said.children].map((bubble) => [bubble.dataset.id, bubble]))
    const wanted = model.bubbles.map(([id, who, state, text, note]) => {
      const bubble = there.get(id) ?? make("div", {}, make("p"), make("small"))
      bubble.dataset.id = id
      bubble.className = `bubble ${who}`
      bubble.dataset.state = state
      const [words, under] = bubble.children
      if (words.textContent !== text) { words.textContent = text }
      if (under.textContent !== note) { under.textContent = note }
      return bubble
    })
    const same = wanted.length === said.children.length && wanted.every((each, i) => said.children[i] === each)
    if (!same) { said.replaceChildren(...wanted) }
    if (!wanted.length) { said.replaceChildren(nothing) }
  }
  const drawClient = () => {
    choose.hidden = model.clients.length < 2
    client.max = model.clients.at(-1) ?? 0
    client.min = model.clients[0] ?? 0
    client.value = model.client
  }
  client.addEventListener("change", () => {
    const wanted = Number(client.value)
    const nearest = model.clients.reduce((best, each) =>
      Math.abs(each - wanted) < Math.abs(best - wanted) ? each : best, model.clients[0])
    client.value = nearest
    model.client = nearest
  })
  model.on(["facts", "title"], drawFacts)
  model.on("bubbles", drawChat)
  model.on(["clients", "client"], drawClient)
  drawFacts()
  drawChat()
  drawClient()
  return root
}
"""

_CSS = """
:host { width: 100%; font: 13px/1.4 var(--bokeh-base-font, sans-serif);
        color: var(--mui-palette-text-primary); }
.moment { background: var(--mui-palette-hustle-card); border: 1px solid var(--mui-palette-hustle-line);
  border-radius: 10px; padding: 12px 14px; box-sizing: border-box; }
h2 { font-size: 15px; font-weight: 600; margin: 0 0 8px; }
h3 { font-size: 12px; font-weight: 600; margin: 12px 0 6px; color: var(--mui-palette-hustle-quiet);
     text-transform: uppercase; letter-spacing: .06em; }
dl { margin: 0; display: grid; gap: 6px; }
dl > div { display: grid; grid-template-columns: 84px minmax(0, 1fr); gap: 8px; min-height: 36px; }
dt { font-weight: 600; white-space: nowrap; } dt i { font-style: normal; display: inline-block; width: 17px; }
dd { margin: 0; color: var(--mui-palette-hustle-quiet); overflow-wrap: anywhere; }
[data-status=online] i { color: var(--mui-palette-hustle-onlineText); }
[data-status=degraded] i { color: var(--mui-palette-hustle-degradedText); }
[data-status=offline] i { color: var(--mui-palette-hustle-offlineText); }
[data-status=checking] i { color: var(--mui-palette-hustle-checkingText); }
.client { display: block; margin: 0 0 6px; font-size: 12.5px; color: var(--mui-palette-hustle-quiet); }
.client[hidden] { display: none; }
.client input { font: inherit; width: 6em; color: var(--mui-palette-text-primary); border-radius: 6px; padding: 2px 6px;
  background: var(--mui-palette-hustle-well); border: 1px solid var(--mui-palette-hustle-line); }
.chat { height: clamp(200px, 32vh, 400px); overflow-y: auto; display: flex; flex-direction: column-reverse;
  background: var(--mui-palette-hustle-well); border-radius: 8px; padding: 10px; box-sizing: border-box; }
.chat:focus-visible, .client input:focus-visible { outline: 2px solid var(--mui-palette-primary-main); }
.said { display: flex; flex-direction: column; gap: 6px; min-height: min-content; }
.bubble { max-width: 88%; padding: 6px 10px; border-radius: 10px; box-sizing: border-box; overflow-wrap: anywhere; }
.bubble p { margin: 0; } .bubble small { display: block; font-size: 11.5px; }
.bubble small:empty { display: none; }
.person { align-self: flex-end; background: var(--mui-palette-primary-main);
  color: var(--mui-palette-primary-contrastText); }
.coach { align-self: flex-start; background: var(--mui-palette-hustle-card);
  border: 1px solid var(--mui-palette-hustle-line); }
.coach small { color: var(--mui-palette-hustle-quiet); }
.coach[data-state=waiting] { border-style: dashed; }
.coach[data-state=offline], .coach[data-state=stale] { border-left: 4px solid var(--mui-palette-hustle-degraded); }
.coach[data-state=unsaved], .coach[data-state=expired], .coach[data-state="given up"] {
  border-left: 4px solid var(--mui-palette-hustle-offline); }
.coach[data-state=late] { border-left: 4px solid var(--mui-palette-hustle-online); }
.nothing { margin: 4px auto; color: var(--mui-palette-hustle-quiet); }
"""


class MomentView(pn.custom.JSComponent):
    """Sentences and chat; ``client`` is whose, one of ``clients``."""

    title = param.String(default="")
    facts = param.List(default=[])
    bubbles = param.List(default=[])
    clients = param.List(default=[])
    client = param.Integer(default=0)

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": (0, 0, 12, 0), "sizing_mode": "stretch_width", **params})

    def show(self, now: Moment) -> None:
        """Show a moment."""
        self.param.update(facts=facts(now), bubbles=bubbles(now))
