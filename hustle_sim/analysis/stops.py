"""Where a play head stops: the moments of a run at which something changed for one client."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hustle_sim.inputs import format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

_MOMENT_S = 1e-9


class Stop(NamedTuple):
    """A moment, and what happened then in a few words."""

    time_s: float
    words: str


class Stops:
    """The changes of one client's verdict and breaker, the edges of outages, and its second-best answers.

    What is known only of the backend (outages) is left out where its truth is not known.
    """

    def __init__(self, run: Recording, client: int = 0) -> None:
        found: list[Stop] = []
        for frame, subject in ((run.transitions, "the monitor says"), (run.breaker, "the breaker is")):
            own = frame[(frame["client"] == client).to_numpy()]
            for time_s, state in zip(own["time_s"].tolist(), own["current"].astype(object), strict=True):
                found.append(Stop(time_s, f"{subject} {str(state).replace('_', '-')}"))
        if run.backend_truth:
            for start_s, end_s, mode in zip(*(run.outages[name] for name in ("start_s", "end_s", "mode")), strict=True):
                word = str(mode).replace("_", " ")
                found.append(Stop(float(start_s), f"an outage begins ({word}, {format_duration(end_s - start_s)})"))
                found.append(Stop(float(end_s), f"an outage ends ({word})"))
        messages = run.messages
        second = ((messages["client"] == client) & messages["source"].isin(["fallback", "stale"])).to_numpy()
        seen_s = (messages["time_s"] + messages["answer_s"]).to_numpy(np.float64)[second]
        found += [Stop(float(at_s), "an offline answer is shown") for at_s in seen_s]
        self.all = tuple(sorted(stop for stop in found if 0 <= stop.time_s <= run.duration_s))
        self._times_s = np.array([stop.time_s for stop in self.all])

    def after(self, time_s: float) -> Stop | None:
        """The first stop later than a time; None if there is none."""
        place = int(np.searchsorted(self._times_s, time_s + _MOMENT_S, side="right"))
        return self.all[place] if place < len(self.all) else None

    def before(self, time_s: float) -> Stop | None:
        """The last stop earlier than a time; None if there is none."""
        place = int(np.searchsorted(self._times_s, time_s - _MOMENT_S, side="left")) - 1
        return self.all[place] if place >= 0 else None
