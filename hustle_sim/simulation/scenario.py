"""A scenario: the backend, what goes wrong with it, and the people who use it. One TOML file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from hustle_sim.inputs import InputError, Seconds, closest, read_toml, sentence, toml_value
from hustle_sim.simulation.distributions import KINDS, TEN_YEARS_S, Constant, Distribution, Lognormal
from hustle_sim.simulation.outages import OutageSpec, Timeline, UtcTime, resolve
from hustle_sim.simulation.randomness import Draws

# From one in the morning to a peak in the evening, as people chat; only the proportions count.
CHAT_DAY = (
    0.45, 0.28, 0.18, 0.13, 0.12, 0.17, 0.32, 0.60, 0.88, 1.05, 1.15, 1.18,
    1.15, 1.18, 1.22, 1.25, 1.28, 1.32, 1.45, 1.65, 1.80, 1.75, 1.35, 0.85,
)  # fmt: skip
"""Weights of the 24 hours of a day of chat, beginning at midnight UTC."""

COMMON_QUESTIONS = 20
"""The questions numbered below this come again and again."""

_HOUR_S, _DAY_S = 3600.0, 86400.0


def _field(default: object, unit: str, why: str, **bounds: Any) -> Any:
    return Field(default=default, description=why, json_schema_extra={"unit": unit}, **bounds)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class BackendModel(_Part):
    """A backend that serves some requests at once, lets some wait, and turns the rest away."""

    capacity: int = _field(20, "requests", "Requests that it serves at once.", ge=1, le=1_000_000)
    waiting_room: int = _field(100, "requests", "Requests that may wait; one more gets a 503.", ge=0, le=10_000_000)
    latency: Distribution = _field(
        Lognormal(median_s=1.2, p99_s=5.0), "s", "Service time of a message, without waiting for a place."
    )
    health_latency: Distribution = _field(Constant(value_s=0.05), "s", "Service time of a health check.")
    health_takes_place: bool = _field(
        True, "", "A health check takes a place like a message; off: it is answered even when there is none."
    )
    refusal_s: Seconds = _field(0.02, "s", "Time that it takes to turn a request away.", ge=0, le=60)
    error_rate: float = _field(0.0, "share", "Share of the messages that fail with a 500 on a good day.", ge=0, le=1)
    version: str = _field("1.0.0", "", "The version that a health check reports.")
    abandoned_keep_place: bool = _field(
        True, "", "A request whose sender has gone keeps its place until it is served, as with most backends."
    )
    honours_keys: bool = _field(
        True, "", "A message that comes again with its Idempotency-Key is not processed twice; real LLM APIs ignore it."
    )
    background_per_s: float = _field(
        0.0, "requests/s", "Load from elsewhere that takes capacity without being simulated clients.", ge=0, le=100_000
    )
    saturates_at_per_s: float = _field(
        0.0, "requests/s",
        "At a rate r of requests, service takes 1/(1 - r/saturates_at_per_s) times longer; 0: as long at any rate.",
        ge=0, le=1_000_000,
    )  # fmt: skip
    load_window_s: Seconds = _field(1.0, "s", "That rate is the mean over this long.", ge=0.1, le=3600)


class Priorities(_Part):
    """How many of the messages are how urgent; the shares add up to 1."""

    high: float = _field(0.1, "share", "Share of priority 0, the most urgent.", ge=0, le=1)
    normal: float = _field(0.8, "share", "Share of priority 1.", ge=0, le=1)
    low: float = _field(0.1, "share", "Share of priority 2.", ge=0, le=1)

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.high + self.normal + self.low
        if abs(total - 1) > 1e-6:
            raise ValueError(f"high, normal and low must add up to 1, not to {total:g}")
        return self


class ClientsModel(_Part):
    """The people: how many, and how often they write. All draws are keyed by client and message."""

    count: int = _field(1, "clients", "Clients, each with an app of its own.", ge=1, le=1_000_000)
    messages_per_hour: float = _field(
        60.0, "messages/h", "Messages of each client: on average (flat, daily), or outside the bursts.", ge=0, le=36_000
    )
    profile: Literal["flat", "daily", "burst"] = _field(
        "flat", "", "flat: the same at all times; daily: as hour_weights say; burst: more in each burst."
    )
    hour_weights: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] = Field(
        default=CHAT_DAY,
        min_length=24,
        max_length=24,
        description="daily: weights of the 24 hours, from midnight UTC.",
        json_schema_extra={"unit": ""},
    )
    burst_every_s: Seconds = _field(_HOUR_S, "s", "burst: from the end of a burst to the next's.", ge=1, le=TEN_YEARS_S)
    burst_lasts_s: Seconds = _field(300.0, "s", "burst: how long each lasts.", ge=1, le=TEN_YEARS_S)
    burst_factor: float = _field(10.0, "times", "burst: that many times more messages.", ge=1, le=1000)
    bursts: int = _field(0, "bursts", "burst: so many in all; 0: without end.", ge=0, le=1_000_000)
    priorities: Priorities = Field(default_factory=Priorities, description="How urgent the messages are.")
    waits: bool = _field(
        True,
        "",
        "Who waits for an answer sends the next message after it; off: each at its time (open loop).",
    )
    think_time: Distribution = _field(Constant(value_s=0.0), "s", "Wait after an answer, before the next message.")
    repeat_share: float = _field(
        0.0, "share", f"Share that asks one of {COMMON_QUESTIONS} questions which come again and again.", ge=0, le=1
    )

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        if self.burst_lasts_s > self.burst_every_s:
            raise ValueError(
                f"burst_lasts_s ({self.burst_lasts_s:g}) must not exceed burst_every_s ({self.burst_every_s:g})"
            )
        if not self.waits and self.think_time.mean_s:
            raise ValueError("think_time belongs to clients that wait for an answer: set waits = true, or leave it out")
        if not math.fsum(self.hour_weights) > 0:
            raise ValueError("hour_weights must not all be 0")
        return self

    def arrivals(self, draws: Draws, client: int, *, start: datetime, duration_s: float) -> Iterator[float]:
        """The times of one client's messages, in seconds since ``start``, up to ``duration_s``.

        A Poisson process whose rate follows the profile. The gap before message n is drawn by client and n, and
        stretched by the rates that it meets (inversion of the cumulated rate): other rates move the same messages.
        """
        if not self.messages_per_hour:
            return
        draw = draws.stream("client.arrival")
        rates = self.rates(start)
        begin_s, end_s, rate_per_s = 0.0, 0.0, 0.0
        for number in count():
            # What the gap costs in expected messages; each stretch of time pays its rate times its length.
            need = -math.log1p(-draw(client, number))
            while need >= (worth := (end_s - begin_s) * rate_per_s):
                need -= worth
                begin_s = end_s
                if begin_s >= duration_s:
                    return
                end_s, rate_per_s = next(rates)
            begin_s += need / rate_per_s
            if begin_s >= duration_s:
                return
            yield begin_s

    def priority(self, draws: Draws, client: int, number: int) -> int:
        """The priority of a client's message (counted from 0): 0 is the most urgent, 2 the least."""
        u = draws.uniform("client.priority", client, number)
        shares = self.priorities
        return 0 if u < shares.high else 1 if u < shares.high + shares.normal else 2

    def question(self, draws: Draws, client: int, number: int) -> int:
        """Which question a client's message (counted from 0) asks.

        Below ``COMMON_QUESTIONS`` it is one of those that everybody asks, the first of them most often (about as
        Zipf's law has it); from there on it has not been asked before.
        """
        u = draws.uniform("client.question", client, number)
        if u < self.repeat_share:
            return min(COMMON_QUESTIONS, int((COMMON_QUESTIONS + 1) ** (u / self.repeat_share))) - 1
        return COMMON_QUESTIONS + client + number * self.count

    def rates(self, start: datetime) -> Iterator[tuple[float, float]]:
        """Ends of stretches of time in seconds since the start, and a client's messages per second until then.

        Without end: the last stretch is infinite, or days and bursts follow each other for ever.
        """
        mean_per_s = self.messages_per_hour / _HOUR_S
        if self.profile == "daily":
            mean_weight = math.fsum(self.hour_weights) / 24
            midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
            into_day_s = (start - midnight).total_seconds()
            for hour in count(start.hour):
                yield (hour + 1) * _HOUR_S - into_day_s, mean_per_s * self.hour_weights[hour % 24] / mean_weight
        elif self.profile == "burst":
            for turn in range(1, self.bursts + 1) if self.bursts else count(1):
                end_s = turn * self.burst_every_s
                yield end_s - self.burst_lasts_s, mean_per_s
                yield end_s, mean_per_s * self.burst_factor
        while True:
            yield math.inf, mean_per_s


class Scenario(_Part):
    """What a run meets: a backend, its outages, its clients. Frozen, self-contained, and picklable.

    CSV files are read when a scenario is loaded, and their data kept in it.
    """

    name: str = _field("scenario", "", "What it is called; a file without a name is called like the file.")
    description: str = _field("", "", "What it teaches, in a line.")
    duration_s: Seconds = _field(_DAY_S, "s", "How long it is.", ge=1, le=TEN_YEARS_S)
    start: UtcTime = _field(datetime(2026, 1, 5, tzinfo=UTC), "", "When it begins (UTC); the default is a Monday.")
    warm_up_s: Seconds = _field(0.0, "s", "Messages sent before this are not measured.", ge=0, le=TEN_YEARS_S)
    backend: BackendModel = Field(default_factory=BackendModel, description="The backend on a good day.")
    clients: ClientsModel = Field(default_factory=ClientsModel, description="The people who use it.")
    outages: tuple[OutageSpec, ...] = Field(default=(), description="What goes wrong, and when.")

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        if self.warm_up_s >= self.duration_s:
            raise ValueError(f"warm_up_s ({self.warm_up_s:g}) must be less than duration_s ({self.duration_s:g})")
        end = self.start + timedelta(seconds=self.duration_s)
        for index, outage in enumerate(self.outages):
            if outage.incidents and "start" not in self.model_fields_set:
                first = min(incident.started_at for incident in outage.incidents)
                last = max(incident.resolved_at for incident in outage.incidents)
                if last <= self.start or first >= end:
                    raise ValueError(
                        f"start must be given: the incidents of outages.{index} are from {first:%Y-%m-%d} "
                        f"to {last:%Y-%m-%d}, and the scenario would begin {self.start:%Y-%m-%d}"
                    )
            if outage.at_s is not None and outage.at_s >= self.duration_s:
                raise ValueError(
                    f"outages.{index}.at_s ({outage.at_s:g}) must be less than duration_s ({self.duration_s:g})"
                )
        return self

    @classmethod
    def load(cls, source: str | Path) -> Scenario:
        """A bundled scenario by name, or a TOML file; CSV files that it names lie beside it.

        Raises InputError with one sentence that names file and field.
        """
        path = Path(source)
        if isinstance(source, str) and source in (bundled := _bundled_files()):
            path = bundled[source]
        elif not path.suffix and not path.is_file():
            names = sorted(_bundled_files())
            raise InputError(
                f"there is no scenario {str(source)!r}{closest(str(source), names)} "
                f"Name one of {', '.join(names)}, or a TOML file."
            )
        tables = read_toml(path)
        return cls._checked({"name": path.stem, **tables}, str(path), path.parent)

    @classmethod
    def bundled(cls) -> dict[str, str]:
        """The names of the scenarios that come with the package, in order, each with what it teaches."""
        return {name: str(read_toml(path).get("description", "")) for name, path in _bundled_files().items()}

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> Scenario:
        """The scenario that ``to_dict`` wrote. Raises InputError with one sentence."""
        return cls._checked(tables, "scenario")

    def to_dict(self) -> dict[str, Any]:
        """The scenario as values that JSON can hold; ``from_dict`` makes an equal one of them."""
        return self.model_dump(mode="json", exclude_none=True)

    def save(self, path: str | Path) -> None:
        """Write the scenario as TOML that loads to an equal one, with the data of its CSV files inside."""
        try:
            Path(path).write_text(self.to_toml(), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}") from None

    def to_toml(self) -> str:
        """The scenario as TOML text, each field with its unit and explanation."""
        lines = _table("", self, skip=("backend", "clients", "outages"))
        lines += _table("[backend]", self.backend) + _table("[clients]", self.clients)
        for outage in self.outages:
            lines += ["", "[[outages]]"]
            for name, value in outage.model_dump(exclude_none=True).items():
                if value not in ((), {}):
                    lines.append(f"{name} = {_inline(value)}")
        return "\n".join(lines) + "\n"

    def replace(self, changes: Mapping[str, object]) -> Scenario:
        """This scenario with dotted fields changed; all is checked again. Raises InputError with one sentence.

        Such as ``{"backend.capacity": 4, "outages.0.lasts_s": "2h", "backend.latency": 1.5, "outages": []}``.
        """
        tables = self.model_dump(exclude_none=True)
        for name, value in changes.items():
            _put(tables, name, value)
        return self._checked(tables, "scenario")

    def timeline(self, draws: Draws) -> Timeline:
        """The outages of the run with these draws."""
        return resolve(self.outages, duration_s=self.duration_s, start=self.start, draws=draws)

    @classmethod
    def _checked(cls, tables: Mapping[str, Any], where: str, folder: Path | None = None) -> Scenario:
        try:
            return cls.model_validate(tables, context={"folder": folder})
        except ValidationError as error:
            raise InputError(_one_sentence(error, where, tables)) from None


def _bundled_files() -> dict[str, Path]:
    package = Path(__file__).parent.parent
    installed = package / "_scenarios"
    folder = installed if installed.is_dir() else package.parent / "data" / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _put(tables: dict[str, Any], name: str, value: object) -> None:
    """Set a dotted field in place; a step that is not there is refused with a sentence."""
    *way, last = name.split(".")
    place: Any = tables
    for step in way:
        if isinstance(place, list | tuple) and step.isdecimal() and int(step) < len(place):
            place = place[int(step)]
        elif isinstance(place, dict) and step in place:
            place = place[step]
        else:
            place = None
    if isinstance(place, dict):
        place[last] = value
        # Data that was read from another file than the one now named.
        place.pop({"replay": "incidents", "csv": "values_s"}.get(last, ""), None)
    else:
        outages = tables.get("outages", ())
        raise InputError(f"there is no scenario field {name!r}{closest(name, _names(len(outages)))}")


def _names(outages: int) -> list[str]:
    """The dotted names of all fields, with those of that many outages, for comparison with a misspelt one."""
    parts: dict[str, type[BaseModel]] = {
        "backend": BackendModel,
        "clients": ClientsModel,
        "clients.priorities": Priorities,
        **{f"outages.{index}": OutageSpec for index in range(outages)},
    }
    return [*Scenario.model_fields, *(f"{part}.{name}" for part, model in parts.items() for name in model.model_fields)]


def _one_sentence(error: ValidationError, where: str, tables: Mapping[str, Any]) -> str:
    """The sentence for the first error, with places as people write them.

    Pydantic puts the kind of a distribution into the path. A misspelt field is told before the missing one that
    follows from it.
    """
    outages = tables.get("outages")
    names = _names(len(outages) if isinstance(outages, list | tuple) else 0)
    plain: list[InitErrorDetails] = []
    for each in sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden"):
        loc = each["loc"]
        for place, part in enumerate(loc):
            if part in KINDS:
                names += [".".join(map(str, (*loc[:place], name))) for name in KINDS[str(part)].model_fields]
        inner = tuple(part for part in loc if part not in KINDS)
        plain.append(InitErrorDetails(type=each["type"], loc=inner, input=each["input"], ctx=each.get("ctx", {})))
    return sentence(ValidationError.from_exception_data(error.title, plain), where, names)


def _table(head: str, model: BaseModel, skip: tuple[str, ...] = ()) -> list[str]:
    """A model as the lines of a TOML table: every field with its unit and explanation."""
    lines = ["", head] if head else []
    for name, info in type(model).model_fields.items():
        if name not in skip:
            extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
            unit = f"[{extra['unit']}] " if extra.get("unit") else ""
            lines += [f"# {unit}{info.description}", f"{name} = {_inline(getattr(model, name))}"]
    return lines


def _inline(value: object) -> str:
    """A value as TOML writes it within a line; a list of tables gets a line for each."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], Mapping):
            return "[\n" + "".join(f"    {_inline(inner)},\n" for inner in value) + "]"
        return "[" + ", ".join(_inline(inner) for inner in value) + "]"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return toml_value(value)
