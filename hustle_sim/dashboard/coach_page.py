"""The place where a person talks to the coach, through an outage and out of it again."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import logging
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.dashboard import styles
from hustle_sim.dashboard.changes import change
from hustle_sim.dashboard.chat_log import ChatLog, VisitorName
from hustle_sim.dashboard.coach_state import (
    LEGEND,
    LONGEST,
    MOST_SUGGESTIONS,
    Suggestion,
    checked,
    conversations,
    is_visitor,
    newly_said,
    row,
    suggestions,
)
from hustle_sim.dashboard.coach_talk import Talk
from hustle_sim.dashboard.indicator import StatusIndicator
from hustle_sim.dashboard.live_practice import practice, take_seat
from hustle_sim.dashboard.live_state import local, watch_policy
from hustle_sim.dashboard.live_targets import PRACTICE, USUAL, Target, write_targets
from hustle_sim.dashboard.notices import Notice, prose
from hustle_sim.dashboard.places import Arguments, Frame
from hustle_sim.dashboard.practice_panel import PracticePanel
from hustle_sim.inputs import InputError
from hustle_sim.live.settings import usable_settings, wall_time
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    from hustle_sim.dashboard.coach_state import Entry
    from hustle_sim.live.session import Seat

logger = logging.getLogger("hustle_sim.dashboard")

_PULL_MS = 250
_MOST_AT_ONCE = 20
"""Messages of one visitor that may wait for their first answer."""

_CONNECTING = "Connecting …"
_EMPTY = "Write to the coach, or try one of the suggestions below."

_GRID = f"""
:host {{
  display: grid !important; grid-template-columns: minmax(0, 1fr) clamp(270px, 22vw, 330px); gap: 20px;
  grid-auto-rows: max-content; height: auto !important;
  align-items: start; padding: 20px; box-sizing: border-box; width: 100%; max-width: 1280px; margin: 0 auto !important;
}}
:host > * {{ min-width: 0; }}
@media ({styles.NARROW}) {{ :host {{ grid-template-columns: minmax(0, 1fr); padding: 12px; gap: 14px; }} }}
"""
_LEGEND_CSS = """
dl { display: grid; grid-template-columns: 1.4em minmax(0, 1fr); gap: 5px 8px; margin: 6px 0 0; font-size: 13px;
     line-height: 1.4; color: var(--mui-palette-hustle-quiet); }
dt { font-weight: 700; text-align: center; color: var(--mui-palette-text-primary); }
dd { margin: 0; }
"""


class CoachPage(pn.viewable.Viewer):
    """One visitor's chat with one backend, over the session that all who talk to the same backend share."""

    def __init__(self, frame: Frame, arguments: Arguments, **params: Any) -> None:
        super().__init__(**params)
        self._frame = frame
        self._settings, problem = usable_settings()
        self._seat: Seat | None = None
        self._talk: Talk | None = None
        self._connecting = self._is_closed = False
        self._drawn = -1
        self._broken: str | None = None
        self._health: Any = None
        self._heard: tuple[Entry, ...] | None = None
        self._make_chat()
        self._make_aside()
        grid = pn.Column(self._chat, self._aside, sizing_mode="stretch_width", margin=0, stylesheets=[_GRID])
        self._view = pn.Column(grid, sizing_mode="stretch_width", margin=0)
        self._pulling = pn.state.add_periodic_callback(self._pull, period=_PULL_MS, start=False)
        self._notice.say(problem)
        self.url.value = str(arguments.get("url", ""))

    def seen(self, visible: bool) -> None:
        """The visitor came here, or went elsewhere: nothing is sent to a place that nobody sees."""
        self._view.visible = visible
        if pn.state.curdoc is None:
            return
        if visible:
            self._pulling.start()
            if self._seat is None and not self._connecting:
                # What changes before a new page is there may never reach it: Panel counts on the page asking later.
                pn.state.onload(self._connect)
        elif self._pulling.running:
            self._pulling.stop()

    def arrive(self, arguments: Arguments) -> None:
        """Another place sent the visitor here, to talk to the backend at ``url`` (empty: the practice backend)."""
        if "url" in arguments:
            self.url.value = str(arguments["url"])
            pn.state.execute(self._connect, schedule=True)

    def close(self) -> None:
        """The visitor is gone: give up the seat. What is in the queue stays there."""
        self._is_closed = True
        if self._pulling.running:
            self._pulling.stop()
        talk, self._talk = self._talk, None
        if talk is not None:
            talk.close()
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave()

    def __panel__(self) -> Any:
        return self._view

    def _make_chat(self) -> None:
        self._notice = Notice()
        self.indicator = StatusIndicator(on_probe=self._on_probe, sizing_mode="stretch_width", margin=(0, 0, 10, 0))
        self.log = ChatLog(on_action=self._on_action, empty=_CONNECTING, css_classes=["chat-log"])
        self.input = pmui.ChatAreaInput(
            placeholder="Write to the coach", enable_upload=False, max_length=LONGEST, max_rows=6, disabled=True,
            color="primary", sizing_mode="stretch_width", margin=(10, 0, 0, 0),
        )  # fmt: skip
        self.input.param.watch(lambda _: self._on_enter(), "enter_pressed")
        self._suggested: list[Suggestion] = []
        self.suggesting = [
            pmui.Button(
                label="", size="small", color="primary", variant="outlined", margin=0, visible=False,
                on_click=lambda _, at=at: self._try(self._suggested[at]),
            )
            for at in range(MOST_SUGGESTIONS)
        ]  # fmt: skip
        tried = pn.FlexBox(*self.suggesting, gap="8px", margin=(10, 0, 0, 0), css_classes=["suggestions"])
        self.visitor = VisitorName()
        self.visitor.param.watch(lambda _: pn.state.onload(self._open), "token")
        self._chat = pn.Column(
            self._notice, self.indicator, self.log, tried, self.input,
            prose("<p>Enter sends, Shift + Enter begins a new line.</p>"), self.visitor,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL], css_classes=["coach"],
        )  # fmt: skip

    def _make_aside(self) -> None:
        wide: dict[str, Any] = {"color": "primary", "variant": "outlined", "sizing_mode": "stretch_width"}
        self.url = pmui.TextInput(
            label="Backend URL", placeholder="the practice backend", size="small", width=None,
            helper_text="Empty: a practice backend on this machine, which you can break on purpose.",
            sizing_mode="stretch_width", margin=(10, 0, 4, 0),
        )  # fmt: skip
        self.url.param.watch(lambda _: pn.state.execute(self._connect, schedule=True), "enter_pressed")
        self.connect_button = pmui.Button(label="Talk to it", margin=(4, 0), on_click=self._connect, **wide)
        self.configured = pmui.Button(
            label="Use the backend of HUSTLE_BACKEND_URL", margin=(4, 0), on_click=self._on_configured,
            visible=self._settings.backend_url is not None, **wide,
        )  # fmt: skip
        self.practice = PracticePanel(self._notice.say, self._on_practice)
        self.watch_button = pmui.Button(
            label="Watch it in Live",
            margin=(4, 0),
            on_click=self._on_watch,
            disabled=True,
            **{**wide, "variant": "text"},
        )
        marks = "".join(f"<dt>{glyph}</dt><dd>{words}</dd>" for glyph, words in LEGEND)
        self._aside = pn.Column(
            prose("<h2>Who you talk to</h2>"), self.url, self.connect_button, self.configured, self.watch_button,
            self.practice,
            pn.pane.HTML(
                f"<h2>What the marks mean</h2><dl>{marks}</dl>", sizing_mode="stretch_width", margin=(18, 0, 0, 0),
                stylesheets=[styles.TEXT, _LEGEND_CSS],
            ),
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL], css_classes=["controls"],
        )  # fmt: skip

    async def _connect(self, *_: Any) -> None:
        """Take a seat at the backend that is named, and give up the one before."""
        if self._connecting:
            return
        self._connecting = True
        # What the field shows: its value follows only when it is left.
        url = (self.url.value_input or "").strip()
        # As it is usually watched in the Live place: then both have one session.
        target = Target(url or PRACTICE, USUAL)
        try:
            policy = watch_policy(target.interval_s, Policy.from_environment())
            seat = await asyncio.to_thread(take_seat, url, policy, self._settings)
        except InputError as error:
            sentence = str(error)
            pn.state.execute(lambda: self._refused(sentence), schedule=True)
            return
        finally:
            self._connecting = False
        before, self._seat = self._seat, seat
        if self._is_closed:
            before, self._seat = seat, None
        else:
            pn.state.execute(self._sit_down, schedule=True)
        if before is not None:
            await asyncio.to_thread(before.leave)

    def _refused(self, sentence: str) -> None:
        self._notice.say(sentence)
        if self._talk is None:
            self.log.empty = "Name a backend to talk to, or leave the field empty for the practice backend."

    def _sit_down(self) -> None:
        """Show who it is that the visitor talks to now."""
        if self._seat is None:
            return
        session, self._health = self._seat.session, None
        self._notice.say(session.notice)
        is_practice = practice.is_at(session.label)
        self.url.value = "" if is_practice else session.label
        self.practice.visible = is_practice
        self.watch_button.disabled = False
        self._frame.set_address("coach", {} if is_practice else {"url": session.label})
        self._open()

    def _open(self) -> None:
        """Open the conversation, once there are a seat and a visitor."""
        visitor = self.visitor.token
        if self._seat is None or not is_visitor(visitor):
            return
        if self._talk is not None:
            self._talk.close()
        session = self._seat.session
        target = str(practice.store_path) if practice.is_at(session.label) else session.label
        self._talk = Talk(session, conversations.of(visitor, target), visitor, wall_time)
        self._drawn, self._broken, self._heard = -1, None, None
        self.log.empty = _EMPTY
        self.input.disabled = False
        self._pull()

    def _on_enter(self) -> None:
        self._send(self.input.value)

    def _send(self, text: str) -> None:
        try:
            text = checked(text or "")
        except InputError as error:
            self._notice.say(str(error))
            return
        if self._talk is None or not text:
            return
        if len(self._talk.conversation.calling) >= _MOST_AT_ONCE:
            self._notice.say(f"{_MOST_AT_ONCE} messages wait for an answer already: give the coach a moment")
            return
        self._notice.say("")
        self._talk.send(text)
        self._pull()

    def _on_action(self, name: str, key: str) -> None:
        if self._talk is None:
            return
        if name == "cancel":
            self._talk.cancel(key)
        elif name == "again":
            self._talk.again(key)

    def _try(self, suggestion: Suggestion) -> None:
        if suggestion.how is not None:
            self.practice.do(suggestion.how)
        if suggestion.text:
            self._send(suggestion.text)

    def _on_practice(self) -> None:
        self._probe()
        self._pull()

    def _on_configured(self, _: Any) -> None:
        self.url.value = self._settings.backend_url or ""
        pn.state.execute(self._connect, schedule=True)

    def _on_watch(self, _: Any) -> None:
        if self._seat is not None:
            label = self._seat.session.label
            target = Target(PRACTICE if practice.is_at(label) else label, USUAL)
            self._frame.open("live", watch=write_targets([target]), target=target.url)

    async def _on_probe(self) -> None:
        self._probe()

    def _probe(self) -> None:
        if self._seat is not None and self._seat.session.is_running:
            self._seat.session.probe_now()

    def _pull(self) -> None:
        """Show what is new; called a few times a second while the place is seen."""
        if self._seat is None or self._talk is None:
            return
        health = self._seat.session.health
        if health is not self._health:
            self._health = health
            self.indicator.show(health, wall_time())
        self._talk.look()
        conversation = self._talk.conversation
        version = conversation.version
        is_new = version != self._drawn
        if is_new:
            self._drawn = version
            entries, now = conversation.entries(), wall_time()
            self.log.rows = [row(entry, now) for entry in entries]
            heard = newly_said(self._heard, entries)
            self._heard = entries
            if heard:
                self.log.heard = heard
        if is_new or practice.broken != self._broken:
            self._broken = practice.broken
            self.practice.refresh()
            self._suggest()

    def _suggest(self) -> None:
        clock = f"{local(wall_time()):%H:%M:%S}"
        self._suggested = suggestions(self.practice.visible, practice.broken, self._heard or (), clock)
        for button, suggestion in zip_longest(self.suggesting, self._suggested):
            if suggestion is None:
                change(button, visible=False)
            else:
                change(button, label=suggestion.words, visible=True)
