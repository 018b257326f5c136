"""Tables that were saved, whatever they are."""

from __future__ import annotations

from pathlib import Path

from hustle_sim.inputs import InputError
from hustle_sim.tuning.compare import Comparison
from hustle_sim.tuning.sweep import Sweep
from hustle_sim.tuning.table import Table, saved_kind
from hustle_sim.tuning.tune import Tuning

KINDS: dict[str, type[Table]] = {kind.KIND: kind for kind in (Comparison, Sweep, Tuning)}
"""The tables that can be loaded, by what ``about.json`` calls them."""


def load_table(folder: str | Path) -> Table:
    """The comparison, sweep or tuning that was saved in a folder, which can be run ``again``. Raises InputError."""
    kind = saved_kind(folder)
    if kind not in KINDS:
        raise InputError(f"{folder} holds a {kind}, which can't be loaded as a table")
    return KINDS[kind].load(folder)
