"""The scenario of one visitor: chosen from the gallery, brought along as a file, or edited."""

# mypy: allow-subclassing-any

from __future__ import annotations

from itertools import count
from typing import Any

import panel as pn
import param

from hustle_sim.dashboard.scenario_edit_state import History, copy_name
from hustle_sim.dashboard.scenario_editor import ScenarioEditor
from hustle_sim.dashboard.scenario_files import FIRST, bundled, scenario_of
from hustle_sim.dashboard.scenario_gallery import ScenarioGallery, item
from hustle_sim.inputs import InputError
from hustle_sim.simulation.scenario import Scenario


class ScenarioPicker(pn.viewable.Viewer):
    """The chosen scenario. ``value`` changes with each choice and each edit; nothing that was edited is lost.

    The picker itself is the card and the gallery; ``editor`` is to be placed where there is room for a timeline.
    """

    value = param.Parameter(default=None, doc="The current Scenario.")
    problem = param.String(default="", doc="One sentence about a file that can't be used.")
    editing = param.Boolean(default=False, doc="Whether the editor is open.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._own: dict[str, Scenario] = {}
        self._numbers = count(1)
        self._key, self._home = FIRST, FIRST
        self._history = History(bundled()[FIRST])
        self._editor: ScenarioEditor | None = None
        self.gallery = ScenarioGallery(on_choose=self.choose, on_file=self.take, on_edit=self._toggle)
        self.editor = pn.Column(sizing_mode="stretch_width", margin=0, visible=False, css_classes=["editor-place"])
        self.param.watch(lambda event: self.gallery.param.update(problem=event.new), "problem")
        self.param.watch(lambda _: self._on_editing(), "editing")
        self.choose(FIRST)

    def show(self, scenario: Scenario) -> None:
        """Make ``scenario`` the current one: one of the gallery, or one more in it."""
        if scenario == self.value:
            return
        known = next((key for key, one in self._all().items() if one == scenario), None)
        self._begin(known or self._keep(scenario))

    def choose(self, key: str) -> None:
        """Make a scenario of the gallery the current one, by its key: a bundled one's is its name."""
        if key in self._all():
            self.problem = ""
            self._begin(key)

    def take(self, filename: str, content: bytes, size: int | None = None) -> bool:
        """Make the scenario in a file the current one; whether it could be used."""
        try:
            scenario = scenario_of(filename, content, size)
        except InputError as error:
            self.problem = str(error)
            return False
        self.problem = ""
        self.show(scenario)
        return True

    def __panel__(self) -> Any:
        return self.gallery

    def _all(self) -> dict[str, Scenario]:
        return {**bundled(), **self._own}

    def _keep(self, scenario: Scenario) -> str:
        """The key of a scenario of one's own; one of the same name gives way to it."""
        key = next((key for key, one in self._own.items() if one.name == scenario.name), f"own-{next(self._numbers)}")
        self._own[key] = scenario
        return key

    def _begin(self, key: str) -> None:
        self._key = self._home = key
        self._history = History(self._all()[key])
        self._show()

    def _on_edited(self, history: History) -> None:
        """An edit, or one taken back. Editing a bundled scenario makes a copy, which goes when all is undone."""
        edited, home = history.present, bundled().get(self._home)
        if home is None:
            self._own[self._key] = edited
        elif edited == home:
            self._own.pop(self._key, None)
            self._key = self._home
        else:
            if self._key == self._home:
                self._key = f"own-{next(self._numbers)}"
            if edited.name == home.name:
                edited = edited.replace({"name": copy_name(home.name, [one.name for one in self._own.values()])})
                history = History(edited, history.past, history.future, history.key)
            self._own[self._key] = edited
        self._history = history
        self._show()

    def _show(self) -> None:
        # The sketches of others are kept: only what is new is drawn.
        known = {each["key"]: each for each in self.gallery.items}
        drawn = [
            known[key] if key in known and key not in self._own else item(key, one, key in self._own)
            for key, one in self._all().items()
        ]
        self.gallery.param.update(items=drawn, chosen=self._key)
        if self.editing:
            self._edit()
        self.value = self._history.present

    def _toggle(self) -> None:
        self.editing = not self.editing

    def _on_editing(self) -> None:
        self.gallery.editing = self.editor.visible = self.editing
        if self.editing:
            self._edit()

    def _edit(self) -> None:
        if self._editor is None:
            self._editor = ScenarioEditor(changed=self._on_edited, closed=self._toggle)
        self._editor.show(self._history, self._home)
        if not self.editor.objects:
            # Last, so that the browser gets it with something to show.
            self.editor.append(self._editor)
