"""Where scenarios come from: the bundled ones, and a TOML file that a visitor hands over."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

from hustle_sim.inputs import InputError
from hustle_sim.simulation.scenario import Scenario

FIRST = "morning-outage"
"""The bundled scenario that stands first."""

LARGEST = 200_000
"""Bytes of a file that is read."""


@cache
def bundled() -> Mapping[str, Scenario]:
    """The bundled scenarios by name, the first one first."""
    names = sorted(Scenario.bundled(), key=lambda name: (name != FIRST, name))
    return {name: Scenario.load(name) for name in names}


def scenario_of(filename: str, content: bytes, size: int | None = None) -> Scenario:
    """The scenario in a TOML file that a visitor hands over; ``size`` is its whole size if that is more.

    Raises InputError with one sentence. A file that names other files is refused: they are the visitor's, and
    those of the same name on the server are none of their business.
    """
    if max(len(content), size or 0) > LARGEST:
        raise InputError(f"{filename} is too large for a scenario: {LARGEST // 1000} kB at most")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{filename} is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{filename} is not valid TOML: {error}") from None
    return scenario_in({"name": filename.removesuffix(".toml"), **tables}, filename)


def scenario_in(tables: Mapping[str, Any], where: str) -> Scenario:
    """The scenario in tables that come from a visitor, without a look at any file of the server's.

    Raises InputError with one sentence that begins with ``where``.
    """
    for name, holds in (("replay", "incidents"), ("csv", "values_s")):
        file = _named(tables, name, holds)
        if file is not None:
            raise InputError(
                f"{where} names the file {file!r}, which is not here: "
                f"load it with Scenario.load and save it again, so that its {holds} are inside"
            )
    try:
        return Scenario.from_dict(tables)
    except InputError as error:
        raise InputError(f"{where}: {str(error).removeprefix('scenario: ')}") from None


def _named(value: Any, name: str, holds: str) -> str | None:
    """A file that some table names under ``name`` without the data that it ``holds``."""
    if isinstance(value, dict):
        if name in value and holds not in value:
            return str(value[name])
        inner: list[Any] = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return None
    return next((found for each in inner if (found := _named(each, name, holds)) is not None), None)
