"""Plots that follow a pipe: new data go straight into the sources of their layers.

HoloViews itself would make every element anew and set every option of its plot again, which costs more than all the
rest of an update together.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.core.property.vectorization import Field

if TYPE_CHECKING:
    from hustle_sim.analysis.figure_data import Data

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """What one layer is filled with.

    ``columns`` makes the columns of its Bokeh source from the data of the figure; ``colours`` are those of the words
    in its column ``color``, and ``varying`` the properties of its glyph that have a column of their name.
    """

    columns: Callable[[Data], Columns]
    colours: Mapping[str, str] = field(default_factory=dict)
    varying: tuple[str, ...] = ()


class Follower:
    """The plots of one figure as they are drawn now; it keeps none of them alive.

    ``finish(plot, None)`` is called after each filling: it sets axes and title.
    """

    def __init__(self, sources: Sequence[Source], finish: Callable[[Any, Any], None]) -> None:
        self._sources = tuple(sources)
        self._finish = finish
        self._plots: weakref.WeakSet[Any] = weakref.WeakSet()

    def adopt(self, plot: Any, data: Data) -> None:
        """Fill a HoloViews overlay plot, whose layers are those of the sources, from now on."""
        if plot in self._plots:
            return
        for layer, source in zip(plot.subplots.values(), self._sources, strict=True):
            _prepare(layer, source)
        self._plots.add(plot)
        self._fill(plot, data)

    def fill(self, data: Data) -> None:
        """Show other data."""
        for plot in list(self._plots):
            self._fill(plot, data)
            self._finish(plot, None)

    def _fill(self, plot: Any, data: Data) -> None:
        for layer, source in zip(plot.subplots.values(), self._sources, strict=True):
            there, columns = layer.handles["source"], source.columns(data)
            if not _same(there.data, columns):
                there.data = columns


def _prepare(layer: Any, source: Source) -> None:
    """HoloViews draws what is equal everywhere as one value, and knows the colours of the first data only."""
    mapper = layer.handles.get("color_color_mapper")
    if mapper is not None:
        mapper.update(factors=list(source.colours), palette=list(source.colours.values()))
    drawn = layer.handles["glyph_renderer"]
    looks = (drawn.glyph, drawn.selection_glyph, drawn.nonselection_glyph, drawn.muted_glyph, drawn.hover_glyph)
    for glyph in looks:
        for name in source.varying:
            if hasattr(glyph, name):
                setattr(glyph, name, Field(name))


def _same(there: Mapping[str, Any], columns: Columns) -> bool:
    return there.keys() == columns.keys() and all(_equal(there[name], column) for name, column in columns.items())


def _equal(one: Any, other: Any) -> bool:
    if len(one) != len(other):
        return False
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        numbers = one.dtype.kind == "f" and other.dtype.kind == "f"
        return np.array_equal(one, other, equal_nan=numbers)
    return False
