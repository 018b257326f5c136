"""Take a policy home: as constants of a language, as a file, or as the configuration of a library or proxy."""

from __future__ import annotations

from collections.abc import Callable

from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import Policy
from hustle_sim.tuning.export.envoy import envoy
from hustle_sim.tuning.export.languages import as_json, env, kotlin, python, swift, toml, typescript
from hustle_sim.tuning.export.parts import Export
from hustle_sim.tuning.export.polly import polly
from hustle_sim.tuning.export.retrying import stamina, tenacity

FORMATS: dict[str, Callable[[Policy], Export]] = {
    "env": env,
    "json": as_json,
    "toml": toml,
    "typescript": typescript,
    "kotlin": kotlin,
    "swift": swift,
    "python": python,
    "tenacity": tenacity,
    "stamina": stamina,
    "polly": polly,
    "envoy": envoy,
}
"""What a policy can be exported to, by name."""


def export(policy: Policy, to: str) -> Export:
    """The policy in another form: ``str(result)`` is the file, ``result.warnings`` what it could not express.

    ``to`` is a name in ``FORMATS``. Durations are milliseconds in TypeScript and Kotlin, seconds elsewhere. Raises
    InputError for a form that does not exist.
    """
    if to not in FORMATS:
        raise InputError(
            f"there is no export to {to!r}{closest(to, FORMATS)} A policy can be exported to {', '.join(FORMATS)}."
        )
    return FORMATS[to](policy)


__all__ = ["FORMATS", "Export", "export"]
