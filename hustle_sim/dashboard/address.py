"""The address of what one sees: a choice as the query of a link, and back.

``?scenario=hang&policy=default&seed=7&probe.interval_s=30&b=polly&view=both``: a bundled scenario by its name, another
one compressed into ``own``; a preset, then each field that differs from it by its dotted name; ``b`` and ``b.``
the same for the policy that it is compared with.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any

from hustle_sim.dashboard.choice import (
    BASELINE,
    DEFAULT_SCENARIO,
    DEFAULT_SEED,
    Choice,
    Side,
    preset,
    preset_of,
    seed_of,
)
from hustle_sim.dashboard.scenario_files import bundled, scenario_in
from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation.scenario import Scenario

LARGEST = 12_000
"""Characters of a scenario in an address: servers and chat programs cut off longer ones."""

_LARGEST_TEXT = 400_000
_DAMAGED = "the scenario in this address is damaged: ask for the link again"


def to_query(choice: Choice) -> dict[str, str]:
    """The query of an address that shows this choice.

    Raises InputError if its scenario is too large for an address.
    """
    query = _scenario_query(choice.scenario)
    query |= {"policy": choice.mine.preset, "seed": str(choice.seed)}
    query |= {name: _text(value) for name, value in choice.mine.changes.items()}
    if choice.other != Side.of(BASELINE):
        query["b"] = choice.other.preset
        query |= {f"b.{name}": _text(value) for name, value in choice.other.changes.items()}
    if choice.both:
        query["view"] = "both"
    return query


def from_query(query: Mapping[str, Any]) -> Choice:
    """The choice that an address asks for; what it leaves out is as on a first visit.

    Another place may hand over a Scenario as ``scenario``, and a Policy as ``policy`` or ``b``, in place of text.
    Raises InputError with one sentence for what does not exist or can't be.
    """
    return Choice(
        scenario=_scenario(query),
        mine=_side(query.get("policy", "default"), _changes(query, "")),
        seed=_seed(query.get("seed", DEFAULT_SEED)),
        other=_side(query.get("b", BASELINE), _changes(query, "b.")),
        both=query.get("view", "") == "both",
    )


def _scenario_query(scenario: Scenario) -> dict[str, str]:
    if bundled().get(scenario.name) == scenario:
        return {"scenario": scenario.name}
    plain = json.dumps(scenario.to_dict(), ensure_ascii=False, separators=(",", ":"))
    packed = zlib.compress(plain.encode(), 9)
    text = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    if len(text) > LARGEST:
        raise InputError(f"{scenario.name} is too large for an address: download it and hand the file over")
    return {"own": text}


def _scenario(query: Mapping[str, Any]) -> Scenario:
    name = query.get("scenario", DEFAULT_SCENARIO)
    if isinstance(name, Scenario):
        return name
    if "own" in query:
        return _unpacked(query["own"])
    if name not in bundled():
        raise InputError(f"there is no scenario {name!r}{closest(name, bundled())}")
    return bundled()[name]


def _unpacked(text: str) -> Scenario:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        opener = zlib.decompressobj()
        plain = opener.decompress(packed, _LARGEST_TEXT)
        if not opener.eof:
            raise InputError(_DAMAGED)
        tables: Any = json.loads(plain)
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        raise InputError(_DAMAGED) from None
    if not isinstance(tables, dict):
        raise InputError(_DAMAGED)
    return scenario_in(tables, "this address")


def _changes(query: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The policy's fields in a query; a misspelt one is told of when the policy is made."""
    return {
        name.removeprefix(prefix): value
        for name, value in query.items()
        if name.startswith(prefix) and name.removeprefix(prefix).split(".")[0] in Policy.model_fields and "." in name
    }


def _side(name: str | Policy, changes: Mapping[str, Any]) -> Side:
    if isinstance(name, Policy):
        return Side(preset_of(name) or "default", name)
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}{closest(name, PRESETS)}")
    return Side(name, preset(name).replace(changes) if changes else preset(name))


def _seed(text: str | int) -> int:
    try:
        return seed_of(int(text))
    except ValueError:
        raise InputError(f"seed: a whole number from 0 up is needed, not {text!r}") from None


def _text(value: float | int | bool | str) -> str:
    """A field's value as it reads back the same."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)
