"""The queue of a target, or of an app on this machine, looked into and put in order: a part of the Live place."""

# mypy: allow-subclassing-any

from __future__ import annotations

import logging
from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.dashboard import styles
from hustle_sim.dashboard.changes import change
from hustle_sim.dashboard.notices import Notice, prose
from hustle_sim.dashboard.queue_state import EMPTY, SHOWN, QueueFile, Snapshot, allowed, chips, details, rows
from hustle_sim.dashboard.queue_table import QueueTable
from hustle_sim.inputs import InputError
from hustle_sim.live.settings import wall_time
from hustle_sim.live.store import export_json
from hustle_sim.resilience.store import PENDING, Item, ItemState, StoreError

logger = logging.getLogger("hustle_sim.dashboard")

_REFRESH_MS = 3000

_DONE = {
    "retry": "will be sent again when the app next looks into its queue",
    "cancel": "cancelled",
    "delete": "deleted",
}

_ACTS_CSS = """
:host { display: flex !important; flex-flow: row wrap !important; gap: 8px; margin-top: 8px !important; }
:host > * { flex: none !important; width: auto !important; }
"""

_DETAILS_CSS = """
pre { margin: 0 0 14px; padding: 10px 12px; border-radius: 8px; background: var(--mui-palette-hustle-well);
      max-height: 260px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-family: inherit;
      font-size: 13.5px; line-height: 1.45; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 16px; margin: 0; font-size: 13.5px; }
dt { color: var(--mui-palette-hustle-quiet); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
"""


class QueueView(pn.viewable.Viewer):
    """One visitor's view of a queue's file; ``follow`` turns to another one."""

    def __init__(self, file: QueueFile | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._file = QueueFile() if file is None else file
        self._is_seen = False
        self._snapshot = Snapshot()
        self._sure = False
        self._make_controls()
        self._make_views()
        self._view = pn.Column(self._controls, self._results, sizing_mode="stretch_width", margin=0)
        self._refreshing = pn.state.add_periodic_callback(self.refresh, period=_REFRESH_MS, start=False)
        self.table.param.watch(lambda _: self._filter(), "state")
        self.table.param.watch(lambda _: self._select(), "selected")
        self._select()

    @property
    def waiting(self) -> int:
        """Messages that are to be sent, as of the last look."""
        return sum(self._snapshot.counts.get(state, 0) for state in PENDING)

    @property
    def dead(self) -> int:
        """Messages that were given up, as of the last look."""
        return self._snapshot.counts.get(ItemState.DEAD, 0)

    async def follow(self, file: QueueFile) -> None:
        """Show another queue from now on."""
        old, self._file = self._file, file
        self.table.selected = []
        await old.aclose()
        await self.refresh()

    def seen(self, visible: bool) -> None:
        """The visitor looks at it, or elsewhere: a queue that nobody sees is not read."""
        self._is_seen = visible
        if pn.state.curdoc is None:
            return
        if visible:
            pn.state.execute(self.refresh, schedule=True)
            if not self._refreshing.running:
                self._refreshing.start()
        elif self._refreshing.running:
            self._refreshing.stop()

    def close(self) -> None:
        """The visitor is gone: let go of the file."""
        if self._refreshing.running:
            self._refreshing.stop()
        pn.state.execute(self._file.aclose, schedule=False)

    def __panel__(self) -> Any:
        return self._view

    async def refresh(self) -> None:
        """Show what is in the queue now."""
        file = self._file
        snapshot = await file.read()
        if file is self._file:
            self._show(snapshot)

    def _make_controls(self) -> None:
        look: dict[str, Any] = {"color": "primary", "variant": "outlined", "margin": 0}
        self.buttons = {
            "retry": pmui.Button(label="Retry", on_click=self._on_retry, **{**look, "variant": "contained"}),
            "cancel": pmui.Button(label="Cancel", on_click=self._on_cancel, **look),
            "delete": pmui.Button(label="Delete", on_click=self._on_delete, **look),
        }
        self.export = pmui.Button(
            label="Export JSON", on_click=lambda _: self.table.save("queue.json", self._exported()), **look
        )
        self._about = prose("")
        self._hint = prose("")
        acts = pn.Column(
            *self.buttons.values(), self.export, sizing_mode="stretch_width", margin=0, stylesheets=[_ACTS_CSS]
        )
        self._controls = pn.Column(
            self._about, self._hint, acts, sizing_mode="stretch_width", margin=(0, 0, 12, 0), css_classes=["queue-acts"]
        )

    def _make_views(self) -> None:
        self._notice, self._damage, self._empty = Notice(), Notice("info"), Notice("info")
        self.table = QueueTable(css_classes=["queue-table"])
        self._details = pn.pane.HTML(
            "", sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT, _DETAILS_CSS], css_classes=["details"]
        )
        self._list_box = pn.Column(self.table, sizing_mode="stretch_width", margin=0, visible=False)
        self._details_box = pn.Column(
            self._details, sizing_mode="stretch_width", margin=(14, 0, 0, 0), stylesheets=[styles.PANEL], visible=False
        )
        self._results = pn.Column(
            self._notice, self._damage, self._empty, self._list_box, self._details_box,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE], css_classes=["results"],
        )  # fmt: skip

    @property
    def _chosen(self) -> list[Item]:
        chosen = set(self.table.selected)
        return [item for item in self._snapshot.items if item.id in chosen]

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        path = f"<code>{escape(str(snapshot.path))}</code>" if snapshot.path else "no file"
        change(self._about, object=f'<p style="overflow-wrap:anywhere">{path}</p>')
        self._notice.say(snapshot.problem)
        self._damage.say(snapshot.notice)
        self._empty.say("" if snapshot.items or snapshot.problem else f"The queue is empty. {EMPTY}")
        self._list_box.visible = bool(snapshot.items)
        state = self.table.state if snapshot.counts.get(self.table.state) else ""
        self._draw(state)

    def _draw(self, state: str) -> None:
        found = rows(self._snapshot, state, wall_time())
        there = {row["id"] for row in found}
        total = sum(number for value, _, _, number in chips(self._snapshot) if value == state)
        more = f"The newest {SHOWN:,} of {total:,} are shown; Export JSON has them all." if total > SHOWN else ""
        change(
            self.table,
            state=state,
            chips=chips(self._snapshot),
            rows=found,
            more=more,
            selected=[item_id for item_id in self.table.selected if item_id in there],
        )
        self._select(keep=True)

    def _filter(self) -> None:
        self._draw(self.table.state)

    def _select(self, keep: bool = False) -> None:
        """Show what is selected, and let only that be done which can be."""
        chosen = self._chosen
        if not keep:
            self._be_sure(False)
        for what, may in allowed(chosen).items():
            change(self.buttons[what], disabled=not may)
        change(self.export, disabled=not self._snapshot.items)
        number = f"{len(chosen):,} message{'' if len(chosen) == 1 else 's'} selected."
        change(self._hint, object=f"<p>{number if chosen else 'Select messages to retry, cancel or delete them.'}</p>")
        change(self._details, object=details(chosen[0], wall_time()) if len(chosen) == 1 else "")
        self._details_box.visible = len(chosen) == 1

    def _be_sure(self, asking: bool) -> None:
        self._sure = asking
        label = f"Really delete {len(self._chosen):,}?" if asking else "Delete"
        change(self.buttons["delete"], label=label, color="error" if asking else "primary")

    async def _on_retry(self, _: Any) -> None:
        await self._on("retry")

    async def _on_cancel(self, _: Any) -> None:
        await self._on("cancel")

    async def _on_delete(self, _: Any) -> None:
        await self._on("delete")

    async def _on(self, what: str) -> None:
        if what == "delete" and not self._sure:
            self._be_sure(True)
            return
        self._be_sure(False)
        ids = list(self.table.selected)
        try:
            done = await self._file.do(what, ids)
        except (InputError, StoreError) as error:
            self._show(await self._file.read())
            self._notice.say(str(error))
            return
        self._show(await self._file.read())
        if done < len(ids):
            self._notice.say(f"{done} of {len(ids)} {_DONE[what]}; the others had changed in the meantime")

    def _exported(self) -> str:
        """The selected messages, or all of the state that is shown."""
        state = self.table.state
        items = self._chosen or [item for item in self._snapshot.items if not state or item.state.value == state]
        return export_json(items[::-1])
