"""What an experiment returns: a tidy frame that knows what it was made of."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd
import pyarrow as pa

from hustle_sim._version import __version__
from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.inputs import InputError, closest, read_text
from hustle_sim.policy import Policy
from hustle_sim.simulation import Scenario

_FORMAT = "hustle_sim table"
_ABOUT, _ROWS, _RUNS = "about.json", "table.parquet", "runs.parquet"


class Table(pd.DataFrame):
    """A tidy DataFrame with ``runs`` (a row for each replication, with every metric) and ``about``.

    ``about`` holds all that the numbers depend on (policies, scenarios, seeds, arguments, version), as values that
    JSON can hold; ``again()`` makes the same numbers from it. A part of a table is a plain DataFrame.
    """

    KIND: ClassVar[str] = ""
    """Tells saved tables apart; a subclass that can be loaded has one."""

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
        table.about = {"format": _FORMAT, "kind": cls.KIND, "version": __version__, **about}
        table._again = again
        return table

    @classmethod
    def remake(cls, about: Mapping[str, Any], **how: Any) -> Any:
        """The experiment that ``about`` tells of, once more; ``how`` is as for ``again``."""
        raise InputError(f"a table of the kind {about.get('kind')!r} can't be made again from what was saved")

    def again(self, **how: Any) -> Any:
        """The same experiment once more; ``how`` may name ``executor``, ``results``, ``progress``, ``cancelled``.

        Warns if the table is from another version, whose numbers may be others.
        """
        if self.about["version"] != __version__:
            warnings.warn(
                f"this table is from hustle_sim {self.about['version']}, and this is {__version__}: the numbers may "
                "be others",
                stacklevel=2,
            )
        return self._again(**how)

    def save(self, folder: str | Path) -> None:
        """Write ``table.parquet``, ``runs.parquet`` and ``about.json`` into a folder; a table in it is replaced.

        Raises InputError if the folder holds something else, or can't be written.
        """
        target = Path(folder)
        check_folder(target)
        try:
            target.mkdir(parents=True, exist_ok=True)
            # A table without this file is none: what was cut short is never taken for whole.
            (target / _ABOUT).unlink(missing_ok=True)
            pd.DataFrame(self).to_parquet(target / _ROWS, engine="pyarrow", index=False)
            self.runs.to_parquet(target / _RUNS, engine="pyarrow", index=False)
            (target / _ABOUT).write_text(json.dumps(self.about, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{target}: the table can't be saved there: {error.strerror or error}") from None
        except pa.ArrowException as error:
            raise InputError(f"{target}: the values can't be saved as Parquet: {error}") from None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The table that ``save`` wrote, which can be run ``again``. Raises InputError for a folder that is none."""
        target = Path(folder)
        about = _read_about(target)
        if about.get("kind") != cls.KIND:
            raise InputError(f"{target} holds a {about.get('kind')}, not a {cls.KIND}")
        try:
            rows, runs = (pd.read_parquet(target / name, engine="pyarrow") for name in (_ROWS, _RUNS))
        except (OSError, ValueError, pa.ArrowException):
            raise InputError(f"{target}: {_ROWS} or {_RUNS} is missing or damaged") from None
        table = cls(rows)
        table.runs, table.about, table._again = runs, about, partial(cls.remake, about)
        return table

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame


def saved_kind(folder: str | Path) -> str:
    """The ``KIND`` of the table that is saved in a folder; raises InputError if there is none."""
    return str(_read_about(Path(folder)).get("kind"))


def check_folder(folder: str | Path) -> None:
    """Raise InputError with one sentence if ``Table.save`` would refuse this folder: before the work, not after it."""
    target = Path(folder)
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file: name a folder for the table")
    if not {path.name for path in target.iterdir()} <= {_ABOUT, _ROWS, _RUNS}:
        raise InputError(f"{target} holds something that is not a table: name an empty or new folder")


def _read_about(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    try:
        about = json.loads(read_text(folder / _ABOUT))
    except ValueError:
        about = None
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise InputError(f"{folder} holds no table of hustle_sim: name a folder that Table.save or --out made")
    return about


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


def format_difference(name: str, value: float) -> str:
    """A difference in a metric as people read it: ``"+1.2 s"``, ``"−3.1 points"`` (of a percent), ``"0"``."""
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    sign = "+" if value > 0 else "−"
    if METRICS[name].unit == "share":
        return f"{sign}{abs(value) * 100:.3g} points"
    if METRICS[name].unit == "times":
        return f"{sign}{abs(value):.3g}×"
    return f"{sign}{format_metric(name, abs(value))}"
