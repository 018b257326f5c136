"""Figures as small pictures, SVG or PNG, for pull requests and documents. Drawn by Matplotlib: no browser is needed."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import holoviews as hv

from hustle_sim.analysis.density import density_data, is_dense
from hustle_sim.analysis.drawing import Figure
from hustle_sim.analysis.figure_data import Data, latency_data
from hustle_sim.analysis.figure_sets import DENSITY, EVERY, figure
from hustle_sim.analysis.palette import Theme
from hustle_sim.analysis.waterfall import WATERFALL
from hustle_sim.inputs import InputError, closest

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

Format = Literal["svg", "png"]

POINTS = 2_000
"""Attempts of one kind in a picture: more can't be told apart on paper, and make a file large."""

_DPI = 110
# Matplotlib and its settings belong to the whole process.
_LOCK = threading.Lock()


def picture(
    run: Recording, name: str, format: Format = "svg", *, theme: Theme = "light", message_id: str | None = None
) -> bytes:
    """One figure of a run as the bytes of a file, the same for the same run.

    ``name`` is one of ``figure_sets.EVERY``, or ``waterfall`` with a ``message_id``; latency is drawn as a density
    where there are too many attempts. Raises InputError for an unknown name, format or message.
    """
    if format not in get_args(Format):
        raise InputError(f"there is no picture format {format!r}: it is svg or png")
    if name == WATERFALL.name:
        return drawn(WATERFALL, WATERFALL.make(run, message_id), format, theme=theme)
    if name not in EVERY:
        raise InputError(f"there is no figure {name!r}{closest(name, [*EVERY, WATERFALL.name])}")
    return drawn(*_made(run, name), format, theme=theme)


def drawn(one: Figure, data: Data, format: Format, *, theme: Theme = "light") -> bytes:
    """The picture of data that a figure made: for pairs on common axes."""
    import matplotlib

    with _LOCK, matplotlib.rc_context({"svg.hashsalt": "hustle_sim", "svg.fonttype": "none", **_colours(theme)}):
        import holoviews.plotting.mpl  # noqa: F401 -- makes the renderer
        from matplotlib import pyplot

        overlay = one.draw(data, theme=theme, backend="matplotlib")
        plot = hv.renderer("matplotlib").get_plot(overlay)
        made = plot.state
        try:
            file = io.BytesIO()
            metadata: Any = {"Date": None} if format == "svg" else {"Software": None}
            made.savefig(file, format=format, dpi=_DPI, bbox_inches="tight", metadata=metadata)
        finally:
            pyplot.close(made)
    return file.getvalue()


def save_picture(run: Recording, name: str, path: str | Path, *, theme: Theme = "light") -> None:
    """Write one figure to a file; its ending (``.svg`` or ``.png``) is the format. Raises InputError."""
    target = Path(path)
    contents = picture(run, name, target.suffix.lower().removeprefix("."), theme=theme)  # type: ignore[arg-type]
    try:
        target.write_bytes(contents)
    except OSError as error:
        raise InputError(f"{target} can't be written: {error.strerror or error}") from None


def _made(run: Recording, name: str) -> tuple[Figure, Data]:
    """A figure with its data, as light as a picture should be."""
    if name == "latency" and is_dense(run, 2 * POINTS):
        return DENSITY, density_data(run)
    return figure(name), latency_data(run, POINTS) if name == "latency" else figure(name).make(run)


def _colours(theme: Theme) -> dict[str, Any]:
    ink, ground = ("#F2F4F5", "#16191C") if theme == "dark" else ("#22272B", "#FFFFFF")
    inks = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor", "axes.titlecolor")
    return {
        **dict.fromkeys(inks, ink), "figure.facecolor": ground, "axes.facecolor": ground,
        "savefig.facecolor": ground, "legend.facecolor": ground, "grid.color": "#80868B", "grid.alpha": 0.3,
    }  # fmt: skip
