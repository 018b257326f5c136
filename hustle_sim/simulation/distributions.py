"""Durations that vary: one uniform number in, one duration in seconds out.

Each distribution is sampled by inversion, so that one keyed draw gives one duration: a greater draw never
gives a shorter one, and a changed parameter moves every sample a little instead of dealing anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from csv import Error as CsvError
from csv import reader
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist, fmean, median
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hustle_sim.inputs import InputError, Seconds, closest, parse_duration, read_text

TEN_YEARS_S = 315_576_000.0
"""No duration of a scenario is longer."""

_LOWEST, _HIGHEST = 2.0**-54, 1 - 2.0**-53
_inv_cdf = NormalDist().inv_cdf
_Z99 = _inv_cdf(0.99)


def _seconds(why: str, low: float = 0.0) -> Any:
    return Field(ge=low, le=TEN_YEARS_S, description=why, json_schema_extra={"unit": "s"})


def _inside(u: float) -> float:
    return _LOWEST if u < _LOWEST else _HIGHEST if u > _HIGHEST else u


class _Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Constant(_Base):
    """Always ``value_s``."""

    kind: Literal["constant"] = "constant"
    value_s: Seconds = _seconds("Every duration.")

    def sample(self, u: float) -> float:
        """The duration in seconds, whatever ``u``."""
        return self.value_s

    @property
    def mean_s(self) -> float:
        """The mean in seconds."""
        return self.value_s

    @property
    def median_s(self) -> float:
        """The median in seconds."""
        return self.value_s


class Uniform(_Base):
    """Anything between ``low_s`` and ``high_s``, all equally likely."""

    kind: Literal["uniform"] = "uniform"
    low_s: Seconds = _seconds("The shortest.")
    high_s: Seconds = _seconds("The longest.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low_s > self.high_s:
            raise ValueError(f"low_s ({self.low_s:g}) must not exceed high_s ({self.high_s:g})")
        return self

    def sample(self, u: float) -> float:
        """The duration in seconds at quantile ``u``."""
        return self.low_s + (self.high_s - self.low_s) * _inside(u)

    @property
    def mean_s(self) -> float:
        """The mean in seconds."""
        return (self.low_s + self.high_s) / 2

    @property
    def median_s(self) -> float:
        """The median in seconds."""
        return self.mean_s


class Exponential(_Base):
    """Without memory: however long it has lasted, ``mean_s`` more is expected."""

    kind: Literal["exponential"] = "exponential"
    mean_s: Seconds = _seconds("The mean.", low=1e-6)

    def sample(self, u: float) -> float:
        """The duration in seconds at quantile ``u``."""
        return -math.log1p(-_inside(u)) * self.mean_s

    @property
    def median_s(self) -> float:
        """The median in seconds."""
        return math.log(2) * self.mean_s


class Lognormal(_Base):
    """The usual shape of latencies: most near the median, a few much longer. Given by median and p99."""

    kind: Literal["lognormal"] = "lognormal"
    median_s: Seconds = _seconds("Half are shorter.", low=1e-6)
    p99_s: Seconds = _seconds("One in a hundred is longer.", low=1e-6)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.median_s > self.p99_s:
            raise ValueError(f"median_s ({self.median_s:g}) must not exceed p99_s ({self.p99_s:g})")
        return self

    def sample(self, u: float) -> float:
        """The duration in seconds at quantile ``u``."""
        return self.median_s * math.exp(self.sigma * _inv_cdf(_inside(u)))

    @classmethod
    def of(cls, median_s: float, sigma: float) -> Lognormal:
        """From the median in seconds and the standard deviation of the logarithm."""
        return cls(median_s=median_s, p99_s=median_s * math.exp(sigma * _Z99))

    @property
    def sigma(self) -> float:
        """The standard deviation of the logarithm."""
        return math.log(self.p99_s / self.median_s) / _Z99

    @property
    def mean_s(self) -> float:
        """The mean in seconds."""
        return self.median_s * math.exp(self.sigma**2 / 2)


class Gamma(_Base):
    """Given by its mean, and by ``cv`` (standard deviation over mean) or ``shape`` (1/cv²); cv 1 is exponential."""

    kind: Literal["gamma"] = "gamma"
    mean_s: Seconds = _seconds("The mean.", low=1e-6)
    cv: float | None = Field(default=None, ge=0.01, le=10, description="Standard deviation over mean.")
    shape: float | None = Field(default=None, ge=0.01, le=10_000, description="The shape parameter, 1/cv².")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.cv is None) == (self.shape is None):
            raise ValueError("a gamma distribution needs either cv or shape")
        return self

    def sample(self, u: float) -> float:
        """The duration in seconds at quantile ``u``, to about 1e-7 of it."""
        k = self.k
        return gamma_quantile(k, u) / k * self.mean_s

    @property
    def k(self) -> float:
        """The shape parameter, however it was given."""
        return self.shape if self.shape is not None else 1 / (self.cv or 1.0) ** 2

    @property
    def median_s(self) -> float:
        """The median in seconds."""
        return self.sample(0.5)


class Empirical(_Base):
    """Recorded durations, each as likely as any other, from a CSV file beside the scenario or given as ``values_s``.

    The file is read once and its values are kept, so the distribution needs it no more. A file without numbers
    in its first line has a header there; ``column`` names the column (default: the first one).
    """

    kind: Literal["empirical"] = "empirical"
    csv: str = Field(default="", description="A CSV file, relative to the scenario's; values in seconds.")
    column: str = Field(default="", description="The column of that file, by its header.")
    values_s: tuple[Annotated[float, Field(ge=0, le=TEN_YEARS_S)], ...] = Field(
        min_length=1, description="The recorded durations in seconds."
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, Mapping) or "values_s" in given:
            return given
        if not isinstance(given.get("csv"), str):
            raise ValueError("an empirical distribution needs csv (the name of a file) or values_s")
        return {**given, "values_s": _column(folder_of(info) / given["csv"], str(given.get("column", "")))}

    @field_validator("values_s")
    @classmethod
    def _sort(cls, values_s: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(values_s))

    def sample(self, u: float) -> float:
        """The recorded duration in seconds at quantile ``u``."""
        values_s = self.values_s
        return values_s[int(_inside(u) * len(values_s))]

    @property
    def mean_s(self) -> float:
        """The mean in seconds."""
        return fmean(self.values_s)

    @property
    def median_s(self) -> float:
        """The median in seconds."""
        return median(self.values_s)


def _known_kind(given: object) -> object:
    """A bare number or text such as ``"2s"`` is a constant; an unknown kind is refused with a sentence."""
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        return {"kind": "constant", "value_s": parse_duration(given)}
    if isinstance(given, Mapping):
        kind = given.get("kind")
        if kind is None:
            raise ValueError(f"a distribution needs a kind: one of {', '.join(KINDS)}")
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"there is no kind {kind!r}{closest(str(kind), KINDS)} ({', '.join(KINDS)})")
    return given


Distribution = Annotated[
    Annotated[Constant | Uniform | Exponential | Lognormal | Gamma | Empirical, Field(discriminator="kind")],
    BeforeValidator(_known_kind),
]
"""A table with ``kind = "constant | uniform | exponential | lognormal | gamma | empirical"`` and its parameters, or a
duration that is always the same. Each has ``sample(u)``, ``mean_s`` and ``median_s``, all in seconds."""

KINDS: dict[str, type[BaseModel]] = {
    "constant": Constant,
    "uniform": Uniform,
    "exponential": Exponential,
    "lognormal": Lognormal,
    "gamma": Gamma,
    "empirical": Empirical,
}
"""The distributions by their kind."""


def folder_of(info: ValidationInfo) -> Path:
    """Where relative file names begin: the ``folder`` of the validation's context, else the current one."""
    context = info.context
    return Path(context["folder"]) if isinstance(context, Mapping) and context.get("folder") else Path()


def csv_lines(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with its line number; raises InputError with a sentence."""
    rows = reader(read_text(path).removeprefix("\ufeff").splitlines(keepends=True))
    try:
        lines = [(rows.line_num, [cell.strip() for cell in row]) for row in rows if any(map(str.strip, row))]
    except CsvError as error:
        raise InputError(f"{path}, line {rows.line_num}: {error}") from None
    if not lines:
        raise InputError(f"{path} is empty")
    return lines


def _column(path: Path, column: str) -> tuple[float, ...]:
    lines = csv_lines(path)
    first = lines[0][1]
    index = 0
    if column:
        if column not in first:
            raise InputError(f"{path} has no column {column!r}{closest(column, first)} ({', '.join(first)})")
        index = first.index(column)
    if column or _number(first[0]) is None:
        lines = lines[1:]
    if not lines:
        raise InputError(f"{path} has no values")
    values_s = []
    for line, row in lines:
        cell = row[index] if index < len(row) else ""
        value_s = _number(cell)
        if value_s is None or not 0 <= value_s <= TEN_YEARS_S:
            raise InputError(f"{path}, line {line}: {cell!r} is no duration in seconds")
        values_s.append(value_s)
    return tuple(values_s)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_STEP = 1 / 32
_EDGE = 8.375
_NODES = round(2 * _EDGE / _STEP)


def gamma_quantile(shape: float, u: float) -> float:
    """The quantile of the gamma distribution with scale 1, to about 1e-7 of it, for shapes of 0.01 to 10,000.

    The logarithm of the quantile is a smooth function of the normal quantile. It is tabulated once for a shape,
    and cubic Hermite interpolation with its exact slope does the rest.
    """
    nodes = _gamma_nodes(shape)
    at = (_inv_cdf(_inside(u)) + _EDGE) / _STEP
    index = int(at)
    low, low_slope = nodes[index]
    high, high_slope = nodes[index + 1]
    t = at - index
    rise = high - low
    cubic = low_slope + high_slope - 2 * rise
    return math.exp(low + t * (low_slope + t * (rise - low_slope - cubic + t * cubic)))


def gamma_tails(shape: float, log_x: float) -> tuple[float, float]:
    """The logarithms of P(shape, x) and Q(shape, x), the regularised incomplete gamma functions, at x = exp(log_x).

    By the series below shape + 1 and by Lentz's continued fraction above (Numerical Recipes, 3rd ed., 6.2).
    """
    x = math.exp(log_x)
    if x < shape + 1:
        term = total = 1.0
        divisor = shape
        while term > total * 1e-17:
            divisor += 1
            term *= x / divisor
            total += term
        log_p = shape * log_x - x - math.lgamma(shape + 1) + math.log(total)
        return log_p, math.log(-math.expm1(min(log_p, -1e-300)))
    tiny = 1e-300
    b = x + 1 - shape
    c = 1 / tiny
    d = 1 / b
    fraction = d
    change = 0.0
    number = 0
    while abs(change - 1) > 1e-15 and number < 100_000:
        number += 1
        a = -number * (number - shape)
        b += 2
        d = 1 / (a * d + b or tiny)
        c = b + a / c or tiny
        change = d * c
        fraction *= change
    log_q = shape * log_x - x - math.lgamma(shape) + math.log(fraction)
    return math.log(-math.expm1(min(log_q, -1e-300))), log_q


@lru_cache(maxsize=64)
def _gamma_nodes(shape: float) -> tuple[tuple[float, float], ...]:
    """Logarithm of the quantile and its slope per step, at normal quantiles from -_EDGE up.

    Log P and log Q are concave in log x, so Newton's method on the lesser of the two converges from everywhere.
    """
    nodes = []
    log_x = (math.lgamma(shape + 1) + _log_tail(_EDGE)) / shape
    log_scale = math.lgamma(shape)
    for node in range(_NODES + 2):
        z = node * _STEP - _EDGE
        below = z < 0
        target = _log_tail(abs(z))
        log_density = 0.0
        for _ in range(60):
            log_density = shape * log_x - math.exp(log_x) - log_scale
            log_p, log_q = gamma_tails(shape, log_x)
            reached, sign = (log_p, 1) if below else (log_q, -1)
            move = sign * (target - reached) * math.exp(reached - log_density)
            log_x += move
            if abs(move) < 1e-13 * max(1.0, abs(log_x)):
                break
        slope = math.exp(-z * z / 2 - math.log(2 * math.pi) / 2 - log_density) * _STEP
        nodes.append((log_x, slope))
    return tuple(nodes)


def _log_tail(z: float) -> float:
    """The logarithm of the normal distribution's share above ``z``; erfc keeps it exact far out."""
    return math.log(math.erfc(z / math.sqrt(2)) / 2)
