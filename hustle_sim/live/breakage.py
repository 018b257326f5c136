"""Breaking a backend by hand: the outage that a mode and its parameters stand for."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pydantic import ValidationError

from hustle_sim.inputs import InputError, sentence
from hustle_sim.simulation.outages import ModeSpec, Timeline

_DEFAULTS: dict[str, dict[str, float]] = {"rate_limit": {"rate_per_s": 0.2, "retry_after_s": 5.0}}
"""A scenario has to say these; a button need not."""

_MAX_DELAY_S = 3600.0


class ByHand(NamedTuple):
    """How it is broken by hand, since when (loop time), and what that adds to each answer."""

    timeline: Timeline
    since_s: float
    delay_s: float


def by_hand(mode: str, parameters: dict[str, float], since_s: float) -> ByHand:
    """The breakage that begins at loop time ``since_s`` and lasts. Raises InputError with one sentence.

    The modes and parameters are a scenario's; ``slow`` also has ``delay_s``, and with it no factor unless given.
    """
    values: dict[str, Any] = _DEFAULTS.get(mode, {}) | parameters
    delay_s = 0.0
    if mode == "slow" and "delay_s" in values:
        delay_s = values.pop("delay_s")
        values.setdefault("factor", 1.0)
        if not 0 <= delay_s <= _MAX_DELAY_S:
            raise InputError(f"delay_s is a number of seconds from 0 to {_MAX_DELAY_S:g}, not {delay_s!r}")
    try:
        outage = ModeSpec(mode=mode, **values).at(0.0, math.inf)
    except ValidationError as error:
        raise InputError(sentence(error, "breakage", ModeSpec.model_fields)) from None
    return ByHand(Timeline((outage,), math.inf), since_s, delay_s)
