"""Reading what people write: durations, TOML files, and one clear sentence when something is wrong."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)")


class InputError(ValueError):
    """What a person wrote can't be used. The message is one sentence: what, where, what would be right."""


def parse_duration(value: object) -> object:
    """Turn ``"90s"``, ``"5m"``, ``"1h30m"`` or a number into seconds; anything else is returned as it is.

    Units: ``ms, s, m (or min), h, d, w``. Raises ValueError for text that is no duration.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    try:
        return float(text)
    except ValueError:
        pass
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        raise ValueError(f"{value!r} is no duration: write seconds as a number, or text such as '90s', '5m' or '2h'")
    return math.fsum(float(number) * _UNITS_S[unit] for number, unit in parts)


Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds as float; in files also written as ``"90s"``, ``"5m"``, ``"2h"``."""


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: ``"350 ms"``, ``"8 s"``, ``"5 min"``, ``"1 h 30 min"``."""
    if math.isnan(seconds):
        return "–"
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if math.isinf(seconds):
        return "for ever"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest_s, "s")]
    first = next(index for index, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def write_duration(seconds: float) -> str:
    """Seconds as ``parse_duration`` reads them back exactly: ``"1h17m"``, ``"0.35s"``, ``"30d"``."""
    if not float(seconds).is_integer() or not 0 <= seconds < 1e12:
        number = repr(float(seconds))
        return number if "e" in number or "n" in number else f"{number}s"
    rest, parts = int(seconds), []
    for unit in ("d", "h", "m", "s"):
        number_of, rest = divmod(rest, int(_UNITS_S[unit]))
        if number_of:
            parts.append(f"{number_of}{unit}")
    return "".join(parts) or "0s"


def closest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known name nearest to a misspelt one, or a full stop."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else "."


def sentence(error: ValidationError, where: str, known: Iterable[str] = ()) -> str:
    """One sentence for the first thing that pydantic found wrong.

    ``where`` names the file or the argument; ``known`` are the dotted names a misspelt field is compared with.
    """
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    more = error.error_count() - 1
    also = f" (and {more} more)" if more else ""
    prefix = f"{where}: {place}" if place else where
    if first["type"] == "extra_forbidden":
        return f"{prefix} is not a field that exists{also}{closest(place, known)}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[:1].lower() + message[1:] if message.startswith("Input") else message
    if message.startswith("input") and not isinstance(first["input"], Mapping | list):
        message = f"{message}, not {first['input']!r}"
    return f"{prefix}: {message}{also}"


def read_text(path: Path) -> str:
    """The text of a file; raises InputError with a sentence if it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name a file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises InputError with file and line if it can't be read."""
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises InputError with file and line if it can't be read."""
    try:
        read = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(read, dict):
        raise InputError(f"{path} holds no JSON object: it begins with '{{'")
    return read


def toml_value(value: object) -> str:
    """A bool, number or text as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    # JSON's escapes are TOML's too; only DEL is free in JSON and forbidden in TOML.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
