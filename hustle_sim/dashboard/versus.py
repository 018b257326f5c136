"""B: the policy that the controls' one is compared with, a preset or one that was pinned."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from hustle_sim.dashboard.choice import BASELINE, Side
from hustle_sim.policy import PRESETS

PINNED = "pinned"


class Versus(pn.viewable.Viewer):
    """``value`` is B; ``both`` says whether its figures stand under A's. ``mine`` gives A when it is pinned."""

    value = param.ClassSelector(class_=Side)
    both = param.Boolean(default=False)

    def __init__(self, mine: Callable[[], Side | None], **params: Any) -> None:
        super().__init__(**{"value": Side.of(BASELINE), **params})
        self._mine = mine
        self._pinned: Side | None = None
        self._select = pmui.Select(
            label="Compared with (B)", options=_options(None), value=BASELINE, size="small", width=220, margin=(4, 0),
        )  # fmt: skip
        self._pin = pmui.Button(
            label="Pin as B", variant="outlined", size="small", margin=(4, 0), on_click=lambda _: self.pin(),
        )  # fmt: skip
        self._switch = pmui.Switch(label="Show both", value=self.both, size="small", margin=(4, 0))
        self._select.param.watch(lambda event: self._on_select(event.new), "value")
        self._switch.param.watch(lambda event: self.param.update(both=event.new), "value")
        self.param.watch(lambda event: self._switch.param.update(value=event.new), "both")
        self.param.watch(lambda _: self._on_value(), "value")
        self._on_value()
        self._view = pn.FlexBox(
            self._select, self._pin, self._switch, align_items="center", gap="6px 14px", margin=0,
            css_classes=["versus"],
        )  # fmt: skip

    def pin(self) -> None:
        """Make A as it is now also B."""
        mine = self._mine()
        if mine is not None:
            self.value = mine

    def __panel__(self) -> Any:
        return self._view

    def _on_select(self, name: str) -> None:
        if name != PINNED:
            self.value = Side.of(name)
        elif self._pinned is not None:
            self.value = self._pinned

    def _on_value(self) -> None:
        is_preset = not self.value.changes
        if not is_preset:
            self._pinned = self.value
        self._select.options = _options(self._pinned)
        self._select.value = self.value.preset if is_preset else PINNED


def _options(pinned: Side | None) -> dict[str, str]:
    """What B can be, in words."""
    presets = {name: name for name in PRESETS}
    if pinned is None:
        return presets
    number = len(pinned.changes)
    return {f"pinned: {pinned.preset}, {number} changed": PINNED, **presets}
