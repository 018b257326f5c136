"""What an experiment returns: a tidy frame that knows what it was made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hustle_sim._version import __version__
from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import Policy
from hustle_sim.simulation import Scenario


class Table(pd.DataFrame):
    """A tidy DataFrame with ``runs`` (a row for each replication, with every metric) and ``about``.

    ``about`` holds all that the numbers depend on (policies, scenarios, seeds, arguments, version), as values that
    JSON can hold; ``again()`` makes the same numbers from it. A part of a table is a plain DataFrame.
    """

    # pandas keeps attributes that are named here out of the columns.
    _metadata = ["runs", "about", "_again"]  # noqa: RUF012

    runs: pd.DataFrame
    about: dict[str, Any]
    _again: Callable[..., Any]

    @classmethod
    def of(cls, rows: pd.DataFrame, runs: pd.DataFrame, about: Mapping[str, Any], again: Callable[..., Any]) -> Any:
        """A table of these rows. ``again`` is called with an executor and the like to make an equal one."""
        table = cls(rows)
        table.runs = runs
        table.about = {"version": __version__, **about}
        table._again = again
        return table

    def again(self, **how: Any) -> Any:
        """The same experiment once more; ``how`` may name ``executor``, ``results``, ``progress``, ``cancelled``."""
        return self._again(**how)

    def save(self, folder: str | Path) -> None:
        """Write ``table.parquet``, ``runs.parquet`` and ``about.json`` into a folder; raises InputError."""
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(self).to_parquet(target / "table.parquet", engine="pyarrow", index=False)
            self.runs.to_parquet(target / "runs.parquet", engine="pyarrow", index=False)
            (target / "about.json").write_text(json.dumps(self.about, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{target}: the table can't be saved there: {error.strerror or error}") from None

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame


def scenarios_of(given: Scenario | str | Path | Sequence[Scenario | str | Path]) -> list[Scenario]:
    """One or several scenarios, or their names; raises InputError for none, and for two of one name."""
    each = [given] if isinstance(given, Scenario | str | Path) else list(given)
    if not each:
        raise InputError("scenarios: there is none; give at least one")
    scenarios = [one if isinstance(one, Scenario) else Scenario.load(one) for one in each]
    names = [one.name for one in scenarios]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"scenarios: two are called {twice!r}: give each a name of its own")
    return scenarios


def policy_of(given: Policy | str | Path) -> Policy:
    """A policy, or the preset or file of that name; raises InputError."""
    return given if isinstance(given, Policy) else Policy.load(given)


def metrics_of(names: Sequence[str] | None) -> list[str]:
    """Names of metrics that exist; None: all. Raises InputError with the name that is nearest."""
    for name in names or ():
        if name not in METRICS:
            raise InputError(f"there is no metric {name!r}{closest(name, METRICS)}")
    return list(names) if names else list(METRICS)


def seeds_of(seed: int, replications: int, at_least: int = 1) -> range:
    """The seeds of an experiment: as many as replications, from ``seed`` on. Raises InputError for too few."""
    if replications < at_least:
        raise InputError(f"replications: {replications} is too few: give {at_least} or more")
    return range(seed, seed + replications)
