"""Results that outlive a run of the program: a Parquet data set that a second run continues."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hustle_sim.inputs import InputError

KEY = "key"
_ROWS_A_PART = 500
_ABOUT = ("version", "scenario_name", "scenario", "policy", "seed")
"""Columns for people and other programs, which need no room in memory."""


class Results:
    """Measured replications by key, in a folder of Parquet files (or in memory, without a folder).

    A file is written whole or not at all, so an interruption costs at most what was measured since the last
    ``flush``. Several processes may write to one folder. What was read from disk has the numbers only; the files
    also hold version, scenario, policy and seed of each row. Raises InputError if the folder can't be used.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._rows: dict[str, dict[str, Any]] = {}
        self._unsaved: dict[str, dict[str, Any]] = {}
        if self._folder is not None:
            self._read(self._folder)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def place(self) -> str:
        """Where they are kept, or nothing."""
        return "" if self._folder is None else str(self._folder)

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep one result; it is on disk after the next ``flush``, which comes by itself now and then."""
        self._rows[key] = {KEY: key, **row}
        self._unsaved[key] = self._rows[key]
        if len(self._unsaved) >= _ROWS_A_PART:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if self._folder is None or not self._unsaved:
            self._unsaved.clear()
            return
        rows = pa.Table.from_pandas(pd.DataFrame(list(self._unsaved.values())), preserve_index=False)
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        written = sink.getvalue().to_pybytes()
        draft = self._draft()
        try:
            draft.write_bytes(written)
            draft.replace(self._folder / _name(written))
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise self._unwritable(error) from None
        self._unsaved.clear()

    def check_writable(self) -> None:
        """Raise InputError if results can't be written: before the work, not after it."""
        if self._folder is None:
            return
        try:
            draft = self._draft()
            draft.touch()
            draft.unlink()
        except OSError as error:
            raise self._unwritable(error) from None

    def _draft(self) -> Path:
        # Two runs of the same experiment at once write the same parts.
        assert self._folder is not None
        return self._folder / f".{os.getpid()}-{threading.get_ident()}.draft"

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self._folder}: results can't be written there: {error.strerror or error}")

    def _read(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Looked at once: another run may write its first part between two looks.
            there = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        except OSError as error:
            raise InputError(f"{folder}: no place for results: {error.strerror or error}") from None
        parts = [path for path in there if path.match("part-*.parquet")]
        if there and not parts:
            raise InputError(f"{folder} holds something else ({there[0].name}): name an empty or new folder")
        for part in parts:
            try:
                written = part.read_bytes()
                if part.name != _name(written):
                    raise ValueError(f"{part} is not as it was written")
                found = pq.read_table(pa.BufferReader(written))
                rows = found.select([name for name in found.column_names if name not in _ABOUT]).to_pylist()
                self._rows.update({row[KEY]: row for row in rows})
            except (OSError, KeyError, ValueError, pa.ArrowException):
                raise InputError(
                    f"{part} can't be read as results of hustle_sim: delete it, and what was in it is simulated again"
                ) from None


def _name(written: bytes) -> str:
    """What a file is called: by what is in it, so that damage shows, and no name stands for different rows."""
    return f"part-{hashlib.sha256(written).hexdigest()[:16]}.parquet"
