"""Why? One message's life: chosen by a click into the latency figure or from a list, told as picture and sentences."""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import holoviews as hv
import panel as pn
import param

from hustle_sim.analysis.life import Life, life
from hustle_sim.analysis.picks import LISTS, Picked, counts, picked
from hustle_sim.analysis.shapes import elapsed
from hustle_sim.analysis.waterfall import WATERFALL
from hustle_sim.dashboard import styles
from hustle_sim.inputs import InputError, format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.palette import Theme
    from hustle_sim.analysis.recording import Recording

_SOURCES = {"backend": "coach", "cache": "cache", "stale": "older answer", "fallback": "offline answer", "": "nothing"}


def row(one: Picked) -> list[str]:
    """A message as the cells of the table: id, when it was sent, first answer, what became of it, requests."""
    seen = _SOURCES.get(one.source, one.source)
    first = seen if math.isnan(one.answer_s) else f"{seen} after {format_duration(one.answer_s)}"
    end = one.outcome if one.outcome != "dead" else "given up"
    if one.outcome == "late":
        end = f"answered late, after {format_duration(one.delivered_s)}"
    return [one.message_id, elapsed(one.time_s), first, end, str(one.attempts)]


def chips(run: Recording) -> list[list[Any]]:
    """The lists that hold anything: name, words, number."""
    return [[name, LISTS[name], number] for name, number in counts(run).items() if number]


def told(one: Life) -> str:
    """A life in sentences, as HTML."""
    steps = "".join(
        f"<li><b>{escape(elapsed(step.begin_s) if step.begin_s >= 60 else format_duration(step.begin_s))}</b>"
        f"<span>{escape(step.words)}</span></li>"
        for step in one.steps
    )
    return f'<p class="sum">{escape(one.words)}</p><ol>{steps}</ol>'


_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}
const COLUMNS = ["Message", "Sent at", "First answer", "What became of it", "Requests"]

export function render({model}) {
  const title = make("h2")
  const close = make("button", {type: "button", className: "close", textContent: "Close"})
  const about = make("p")
  const bar = make("div", {className: "chips"})
  bar.setAttribute("role", "group")
  bar.setAttribute("aria-label", "Lists of messages")
  const body = make("tbody")
  const head = make("tr", {}, ...COLUMNS.map((words) => make("th", {textContent: words, scope: "col"})))
  const frame = make("div", {className: "frame"}, make("table", {}, make("thead", {}, head), body))
  const more = make("p", {className: "more"})
  const root = make("section", {className: "why"}, make("header", {}, title, close), about, bar, frame, more)
  root.setAttribute("aria-label", "Why?")

  const drawHead = () => {
    title.textContent = model.chosen ? `Why? Message ${model.chosen}` : "Why?"
    about.textContent = model.about
    close.hidden = !model.chosen && !model.group
  }
  const drawChips = () => {
    const focused = bar.querySelector(":focus")?.dataset.list
    bar.replaceChildren(...model.chips.map(([name, words, number]) => {
      const chip = make("button", {type: "button"}, `${words} `, make("b", {textContent: number.toLocaleString("en")}))
      chip.dataset.list = name
      chip.setAttribute("aria-pressed", String(name === model.group))
      chip.addEventListener("click", () => { model.group = name === model.group ? "" : name })
      return chip
    }))
    if (focused !== undefined) { [...bar.children].find((chip) => chip.dataset.list === focused)?.focus() }
  }
  const mark = () => {
    for (const line of body.children) {
      line.setAttribute("aria-selected", String(line.dataset.id === model.chosen))
    }
  }
  const drawRows = () => {
    frame.hidden = model.rows.length === 0
    body.replaceChildren(...model.rows.map(([id, ...cells]) => {
      const pick = make("button", {type: "button", textContent: id})
      pick.setAttribute("aria-label", `Why? Message ${id}, ${cells[1]}, ${cells[2]}`)
      const line = make("tr", {}, make("td", {}, pick), ...cells.map((text) => make("td", {textContent: text})))
      line.dataset.id = id
      line.addEventListener("click", () => { model.chosen = id })
      return line
    }))
    more.textContent = model.more
    more.hidden = !model.more
    mark()
  }
  body.addEventListener("keydown", (event) => {
    const way = {ArrowDown: 1, ArrowUp: -1}[event.key]
    if (!way) { return }
    event.preventDefault()
    const picks = [...body.querySelectorAll("button")]
    picks[Math.min(Math.max(picks.indexOf(event.target) + way, 0), picks.length - 1)]?.focus()
  })
  root.addEventListener("keydown", (event) => { if (event.key === "Escape" && !close.hidden) { close.click() } })
  close.addEventListener("click", () => {
    model.chosen = ""
    model.group = ""
    bar.querySelector("button")?.focus()
  })
  model.on(["chosen", "about", "group"], drawHead)
  model.on("chosen", mark)
  model.on(["chips", "group"], drawChips)
  model.on(["rows", "more"], drawRows)
  model.on("look", () => root.scrollIntoView({block: "nearest", behavior: "auto"}))
  drawHead()
  drawChips()
  drawRows()
  return root
}
"""

_CSS = """
:host { display: block; width: 100%; font: 13.5px/1.4 var(--bokeh-base-font, sans-serif);
        color: var(--mui-palette-text-primary); }
.why { scroll-margin: 70px; }
header { display: flex; gap: 12px; align-items: center; justify-content: space-between; }
h2 { font-size: 15px; font-weight: 600; margin: 0; }
p { margin: 4px 0 8px; font-size: 13px; color: var(--mui-palette-hustle-quiet); } p:empty { display: none; }
.chips { display: flex; flex-wrap: wrap; gap: 6px; }
button { font: inherit; color: inherit; cursor: pointer; }
.chips button, .close { background: var(--mui-palette-hustle-well); border: 1px solid var(--mui-palette-hustle-line);
  border-radius: 999px; padding: 4px 12px; }
.chips button[aria-pressed=true] { border-color: var(--mui-palette-primary-main);
  box-shadow: inset 0 0 0 1px var(--mui-palette-primary-main); }
.chips b { font-weight: 600; font-variant-numeric: tabular-nums; margin-left: 3px; }
button:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: 1px; }
.frame { overflow: auto; max-height: 264px; margin-top: 10px; } .frame[hidden], .close[hidden] { display: none; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--mui-palette-hustle-card); text-align: left; font-weight: 600;
     font-size: 12px; color: var(--mui-palette-hustle-quiet); padding: 2px 14px 5px 4px; white-space: nowrap; }
td { padding: 4px 14px 4px 4px; border-top: 1px solid var(--mui-palette-hustle-line); white-space: nowrap; }
td button { border: 0; background: none; padding: 1px 3px; text-decoration: underline; border-radius: 4px;
  color: var(--mui-palette-primary-main); }
tbody tr { cursor: pointer; } tbody tr:hover { background: var(--mui-palette-hustle-well); }
tbody tr[aria-selected=true] { background: color-mix(in srgb, var(--mui-palette-primary-main) 14%, transparent); }
.more[hidden] { display: none; }
@media (max-width: 620px) { td:nth-child(5), th:nth-child(5), td:nth-child(2), th:nth-child(2) { display: none; } }
"""

_STEPS_CSS = """
.sum { font-size: 14px; color: var(--mui-palette-text-primary); margin: 10px 0 6px; }
ol { list-style: none; margin: 0; padding: 0; font-size: 13px; max-height: 300px; overflow: auto; }
li { display: grid; grid-template-columns: 76px minmax(0, 1fr); gap: 10px; padding: 3px 0;
     border-top: 1px solid var(--mui-palette-hustle-line); }
li b { font-weight: 600; font-variant-numeric: tabular-nums; text-align: right; }
"""

QUIET = {"plot.toolbar.logo": None, "plot.toolbar.autohide": True, "plot.title.visible": False}
"""What all plots of the page have: a quiet toolbar, and their title in HTML above."""

_INVITATION = "Click an attempt in the latency figure, or choose a message from a list, to see its life step by step."


class MessagePicker(pn.custom.JSComponent):
    """Lists of messages; ``chosen`` is the id of the one to be explained, or empty."""

    chips = param.List(default=[])
    group = param.String(default="")
    rows = param.List(default=[])
    more = param.String(default="")
    chosen = param.String(default="")
    about = param.String(default=_INVITATION)
    look = param.Integer(default=0, doc="Raised to bring it into view.")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})


class Why(pn.viewable.Viewer):
    """The panel: lists, and the waterfall and sentences of the message that is chosen.

    ``went`` is called with the time at which a chosen message was sent, to put the play head there.
    """

    def __init__(
        self, theme: Theme, went: Callable[[float], None], look: Mapping[str, Any] = QUIET, **params: Any
    ) -> None:
        """``look``: options of Bokeh for the figure; where no page paints it, they do."""
        super().__init__(**params)
        self._look = look
        self._run: Recording | None = None
        self._label = ""
        self._theme: Theme = theme
        self._went = went
        self._pipe: hv.streams.Pipe | None = None
        self.picker = MessagePicker()
        self._picture = pn.pane.HoloViews(
            None, linked_axes=False, backend="bokeh", sizing_mode="stretch_width", margin=(8, 0, 0, 0)
        )
        # A HoloViews pane with a plot in it can't be hidden itself.
        self._frame = pn.Column(
            self._picture, visible=False, sizing_mode="stretch_width", margin=0, css_classes=["figure-waterfall"]
        )
        # Told anew by a new pane: one that is changed asks the web for its style sheets in a notebook (Panel 1.9).
        self._steps = pn.Column(visible=False, sizing_mode="stretch_width", margin=0, css_classes=["steps"])
        self._view = pn.Column(
            self.picker, self._frame, self._steps, sizing_mode="stretch_width", margin=(0, 0, 12, 0),
            stylesheets=[styles.PANEL],
        )  # fmt: skip
        self.picker.param.watch(lambda _: self._fill(), "group")
        self.picker.param.watch(lambda _: self._tell(), "chosen")

    def show(self, run: Recording, label: str = "") -> None:
        """Tell of this run from now on; a message that it has as well stays chosen."""
        if run is self._run:
            return
        self._run, self._label = run, label
        known = chips(run)
        self.picker.chips = known
        if self.picker.group not in {name for name, *_ in known}:
            self.picker.group = ""
        self._fill()
        kept = self.picker.chosen
        if kept and not (run.messages["message_id"] == kept).any():
            self.picker.chosen = ""
        else:
            self._tell(move=False)

    def explain(self, message_id: str) -> None:
        """Tell the life of a message of the run."""
        self.picker.chosen = message_id
        self.picker.look += 1

    def say(self, sentence: str) -> None:
        """Say why nothing is explained."""
        self.picker.about = sentence

    def paint(self, theme: Theme) -> None:
        """Draw for another theme."""
        self._theme, self._pipe = theme, None
        self._tell(move=False)

    def __panel__(self) -> Any:
        return self._view

    def _fill(self) -> None:
        name = self.picker.group
        if self._run is None or not name:
            self.picker.param.update(rows=[], more="")
            return
        shown = picked(self._run, name)
        number = next((number for each, _, number in self.picker.chips if each == name), 0)
        more = f"The first {len(shown)} of {number:,}." if number > len(shown) else ""
        self.picker.param.update(rows=[row(one) for one in shown], more=more)

    def _tell(self, move: bool = True) -> None:
        chosen = self.picker.chosen
        story, about = None, _INVITATION
        if chosen and self._run is not None:
            try:
                story, about = life(self._run, chosen), f"In {self._label}." if self._label else ""
            except InputError as error:
                # A recording may hold attempts for messages that were sent before it began.
                about = str(error)[:1].upper() + str(error)[1:]
        self._frame.visible = self._steps.visible = story is not None
        self.picker.about = about
        if story is None or self._run is None:
            return
        self._steps[:] = [
            pn.pane.HTML(told(story), sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT, _STEPS_CSS])
        ]
        data = WATERFALL.make(self._run, chosen)
        if "shorter" in data["note"]:
            self.picker.about = f"{about} Long waits are drawn shorter than they were; the marks say the times.".strip()
        if self._pipe is None:
            self._pipe = hv.streams.Pipe(data=data)
            drawn = WATERFALL.live(self._pipe, theme=self._theme)
            self._picture.object = drawn.opts(backend_opts=self._look, backend="bokeh")
        else:
            self._pipe.send(data)
        if move:
            self._went(story.sent_s)
