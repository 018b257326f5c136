"""Every number that can be tuned, once: name, unit, bounds, default, reason.

The command line, the widgets, the docs and the environment variables are made from these fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from hustle_sim.inputs import InputError, Seconds, closest, read_json, read_toml, sentence, toml_value

Jitter = Literal["none", "full", "equal", "decorrelated"]
Overflow = Literal["displace", "reject", "drop-oldest"]


def _seconds(default: float, low: float, high: float, why: str) -> Any:
    return Field(default=default, ge=low, le=high, description=why, json_schema_extra={"unit": "s"})


def _share(default: float, why: str, low: float = 0.0, high: float = 1.0) -> Any:
    return Field(default=default, ge=low, le=high, description=why, json_schema_extra={"unit": "share"})


def _count(default: int, low: int, high: int, unit: str, why: str) -> Any:
    return Field(default=default, ge=low, le=high, description=why, json_schema_extra={"unit": unit})


def _number(default: float, low: float, high: float, unit: str, why: str) -> Any:
    return Field(default=default, ge=low, le=high, description=why, json_schema_extra={"unit": unit})


def _choice(default: object, why: str) -> Any:
    return Field(default=default, description=why, json_schema_extra={"unit": ""})


def _in_order(low: str, low_value: float, high: str, high_value: float, because: str) -> None:
    if low_value > high_value:
        raise ValueError(f"{low} ({low_value:g}) must not exceed {high} ({high_value:g}): {because}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class ProbePolicy(_Part):
    """When the health monitor asks, and what it takes for it to change its mind."""

    timeout_s: Seconds = _seconds(5, 0.05, 300, "A probe without an answer by then is cancelled and has failed.")
    interval_s: Seconds = _seconds(300, 1, 86400, "Time between the starts of two probes while all is well.")
    confirm_s: Seconds = _seconds(
        10, 0.1, 3600, "Wait after a first failure or a first success before the verdict is confirmed."
    )
    offline_interval_s: Seconds = _seconds(10, 0.1, 86400, "First wait between probes while offline.")
    offline_interval_max_s: Seconds = _seconds(
        60, 0.1, 86400, "The wait between probes while offline doubles up to this."
    )
    jitter: float = _share(0.2, "Each wait is moved by up to this share, so that clients don't probe in step.")
    fall: int = _count(3, 1, 20, "probes", "Failures in a row before the verdict is offline.")
    rise: int = _count(2, 1, 20, "probes", "Successes in a row before an offline backend is online again.")
    degraded_above_s: Seconds = _seconds(3.0, 0.01, 300, "A median latency of the last probes above this is degraded.")
    degraded_below_s: Seconds = _seconds(
        2.4, 0.01, 300, "A degraded backend is well again once the median is below this."
    )
    window: int = _count(5, 1, 100, "probes", "Probes whose median latency is judged.")
    evidence: bool = _choice(True, "A failed live request calls for a probe at once.")

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        _in_order(
            "degraded_above_s", self.degraded_above_s, "timeout_s", self.timeout_s,
            "a probe that slow is cancelled before it can be called slow",
        )  # fmt: skip
        _in_order(
            "degraded_below_s", self.degraded_below_s, "degraded_above_s", self.degraded_above_s,
            "a band needs its lower edge below its upper one",
        )  # fmt: skip
        _in_order(
            "timeout_s", self.timeout_s, "interval_s", self.interval_s,
            "one probe is in flight at a time",
        )  # fmt: skip
        _in_order(
            "offline_interval_s", self.offline_interval_s, "offline_interval_max_s", self.offline_interval_max_s,
            "the wait grows from the first to the second",
        )  # fmt: skip
        return self


class RequestPolicy(_Part):
    """How long a person waits, and how that time is spent."""

    deadline_s: Seconds = _seconds(8, 0.1, 600, "By then the person has seen some answer.")
    attempt_timeout_s: Seconds = _seconds(8, 0.05, 600, "One attempt gets this long, or the time left if that is less.")
    max_attempts: int = _count(3, 1, 100, "attempts", "Attempts for one message before its deadline.")
    late_answer_window_s: Seconds = _seconds(
        30, 0, 3600,
        "A request in flight at the deadline may go on this long: an abandoned AI call is paid for, its replay twice.",
    )  # fmt: skip
    fast_fail_offline: bool = _choice(
        True, "While the verdict is offline, the fallback is given at once and the message is queued."
    )


class RetryPolicy(_Part):
    """How long to wait between attempts, and how many retries all messages together may cost."""

    base_s: Seconds = _seconds(0.5, 0, 600, "Wait before the first retry.")
    factor: float = _number(2, 1, 100, "times", "Each further wait is this many times longer.")
    cap_s: Seconds = _seconds(60, 0, 3600, "No wait is longer; jitter is applied inside it.")
    jitter: Jitter = _choice("full", "Spreads the waits of many clients: full draws from 0 to the wait.")
    retry_after_clamp_s: Seconds = _seconds(5, 0, 3600, "A Retry-After may lengthen our own wait by at most this.")
    budget_share: float = _share(0.1, "Retries may be this share of the messages.", high=100.0)
    budget_floor_per_min: float = _number(
        10, 0, 100000, "retries/min", "Retries a minute that are allowed whatever the traffic."
    )

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        _in_order("base_s", self.base_s, "cap_s", self.cap_s, "the cap is the longest wait")
        return self


class BreakerPolicy(_Part):
    """When to stop sending, and how to find out that it is over."""

    enabled: bool = _choice(True, "Off: every attempt is sent.")
    window: Literal["time", "count"] = _choice(
        "time", "Judge the calls of the last window_s, or the last window_calls."
    )
    window_s: Seconds = _seconds(60, 1, 86400, "Calls of this long are judged (window = time).")
    window_calls: int = _count(20, 1, 10000, "calls", "This many calls are judged (window = count).")
    min_calls: int = _count(5, 1, 10000, "calls", "No verdict on fewer calls than this.")
    failure_share: float = _share(0.5, "Opens at this share of failures.", low=0.01)
    slow_call_s: Seconds = _seconds(6, 0.01, 600, "A call that takes this long is slow.")
    slow_share: float = _share(0.8, "Opens at this share of slow calls.", low=0.01)
    open_s: Seconds = _seconds(10, 0.1, 3600, "First time open before a trial call is let through.")
    open_factor: float = _number(2, 1, 100, "times", "Each failed trial makes the next open time this much longer.")
    open_max_s: Seconds = _seconds(120, 0.1, 86400, "No open time is longer.")
    jitter: float = _share(0.2, "Each open time is moved by up to this share.")
    half_open_probes: int = _count(1, 1, 100, "calls", "Trial calls that may be in flight while half-open.")

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        _in_order("open_s", self.open_s, "open_max_s", self.open_max_s, "open_max_s is the longest open time")
        if self.window == "count":
            _in_order(
                "min_calls", self.min_calls, "window_calls", self.window_calls,
                "the window never holds enough calls, so the breaker would never open",
            )  # fmt: skip
        return self


class QueuePolicy(_Part):
    """What happens to messages that could not be delivered, and how they are sent when the backend is back."""

    max_size: int = _count(
        500, 1, 1_000_000, "messages",
        "Messages that wait at most; one in ten incidents of a big provider lasts 5 h: 300 messages at one a minute.",
    )  # fmt: skip
    warn_size: int = _count(400, 1, 1_000_000, "messages", "From here on the person is told that the queue fills up.")
    overflow: Overflow = _choice(
        "displace",
        "Full: displace a strictly lower priority (it is kept as a dead letter), reject the new one, "
        "or drop the oldest without a trace.",
    )
    max_attempts: int = _count(3, 1, 1000, "attempts", "Verdicts against the message itself before it is dead.")
    outages_count: bool = _choice(False, "On: a backend that is down uses up attempts too.")
    dead_letters: bool = _choice(True, "Off: a message out of attempts is dropped without a trace.")
    ttl_s: Seconds = _seconds(86400, 1, 31536000, "A message older than this is expired, not sent.")
    base_s: Seconds = _seconds(1, 0, 3600, "Wait before the first further attempt of one message.")
    cap_s: Seconds = _seconds(60, 0, 86400, "No wait between attempts of one message is longer.")
    flush_on: Literal["any", "verdict"] = _choice(
        "any", "A flush starts on recovery, start-up, add and by timer; or only on an online verdict."
    )
    flush_jitter_s: Seconds = _seconds(
        5, 0, 600, "After a recovery each client waits up to this long before its flush, so that not all come at once."
    )
    ageing_s: Seconds = _seconds(
        600, 0, 86400, "Waiting this long is worth one step of priority, so that low ones are not starved; 0: first in."
    )
    unknown_fate: Literal["replay", "ask", "drop"] = _choice(
        "replay",
        "Sent without an answer, it may have been processed: send it again, ask a person, or give it up.",
    )
    canary: bool = _choice(True, "A flush begins with one message and grows only when that is delivered.")
    drain_per_s: float = _number(2, 0.01, 1000, "messages/s", "A flush sends at most this many messages a second.")
    drain_concurrency: int = _count(4, 1, 1000, "messages", "Messages of a flush in flight at once, at most.")
    lease_s: Seconds = _seconds(
        18,
        0.1,
        86400,
        "A message being sent is not sent by anyone else for this long; a crash returns it then.",
    )
    save_margin_s: Seconds = _seconds(
        0.05,
        0,
        5,
        "This long before the deadline the message is made durable, so that the answer is in time.",
    )

    poll_s: Seconds = _seconds(
        10, 0.1, 86400, "A message that another process puts into the same file, or makes ready, is noticed this soon."
    )
    keep_ended_s: Seconds = _seconds(
        604800, 0, 315360000,
        "A delivered, expired or cancelled message is forgotten this long after its time to live; dead letters stay.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        _in_order("warn_size", self.warn_size, "max_size", self.max_size, "the warning would never come")
        _in_order("base_s", self.base_s, "cap_s", self.cap_s, "the cap is the longest wait")
        return self


class CachePolicy(_Part):
    """Answers that are kept for questions that come again."""

    enabled: bool = _choice(True, "Off: every question is asked.")
    max_entries: int = _count(200, 1, 1_000_000, "answers", "Answers kept; the least recently used goes first.")
    fresh_s: Seconds = _seconds(300, 0, 31536000, "An answer younger than this is served without asking.")
    stale_s: Seconds = _seconds(
        86400, 0, 31536000, "An answer younger than this is served when the backend fails, and is marked."
    )

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        _in_order("fresh_s", self.fresh_s, "stale_s", self.stale_s, "an answer is fresh first and stale after")
        return self


@dataclass(frozen=True, slots=True)
class PolicyField:
    """One tunable, as the command line, the widgets and the docs need it.

    ``name`` is dotted (``"probe.timeout_s"``); ``low`` and ``high`` are None where there is no bound;
    ``choices`` are the allowed words, empty for numbers and switches.
    """

    name: str
    part: str
    default: float | int | bool | str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    reason: str


class Policy(_Part):
    """Timeouts, retries, breaker, queue and cache of one app. ``Policy()`` is the hardened default.

    Frozen. Durations are seconds; text such as ``"5m"`` is understood too. Values that can't work
    together are refused with a sentence.
    """

    probe: ProbePolicy = Field(default_factory=ProbePolicy)
    request: RequestPolicy = Field(default_factory=RequestPolicy)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = Field(default_factory=BreakerPolicy)
    queue: QueuePolicy = Field(default_factory=QueuePolicy)
    cache: CachePolicy = Field(default_factory=CachePolicy)

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        _in_order(
            "request.deadline_s", self.request.deadline_s, "queue.lease_s", self.queue.lease_s,
            "a lease shorter than the deadline would let a message be sent twice",
        )  # fmt: skip
        _in_order(
            "request.attempt_timeout_s", self.request.attempt_timeout_s, "queue.lease_s", self.queue.lease_s,
            "a lease shorter than an attempt would let a message be sent twice",
        )  # fmt: skip
        _in_order(
            "request.deadline_s", self.request.deadline_s, "queue.ttl_s", self.queue.ttl_s,
            "a message would expire before its person has an answer",
        )  # fmt: skip
        _in_order(
            "queue.save_margin_s", self.queue.save_margin_s, "request.deadline_s", self.request.deadline_s,
            "the margin is part of the deadline",
        )  # fmt: skip
        return self

    @classmethod
    def preset(cls, name: str) -> Policy:
        """A policy that people know, by name: see ``PRESETS``. Raises InputError for an unknown name."""
        try:
            changes = PRESETS[name].changes
        except KeyError:
            raise InputError(
                f"there is no preset {name!r}{closest(name, PRESETS)} Presets: {', '.join(PRESETS)}."
            ) from None
        return cls().replace(changes)

    @classmethod
    def load(cls, source: str | Path) -> Policy:
        """A preset's name, or a TOML or JSON file with tables probe, request, retry, breaker, queue and cache.

        Fields that the file leaves out have their defaults. Raises InputError with one sentence.
        """
        if str(source) in PRESETS:
            return cls.preset(str(source))
        path = Path(source)
        if not path.suffix and not path.exists():
            raise InputError(
                f"there is no preset {str(source)!r}{closest(str(source), PRESETS)} "
                f"Name one of {', '.join(PRESETS)}, or a TOML file."
            )
        if path.suffix == ".json":
            tables = read_json(path)
            tables.pop("about", None)  # what an export says of each field
            return cls._checked(tables, str(path))
        return cls._checked(read_toml(path), str(path))

    def save(self, path: str | Path) -> None:
        """Write all fields as TOML, each with its unit and reason as a comment. The file loads to an equal policy."""
        Path(path).write_text(self.to_toml(), encoding="utf-8")

    def to_toml(self) -> str:
        """The policy as TOML text, each field with its unit and reason."""
        lines: list[str] = []
        part = ""
        for field in policy_fields():
            if field.part != part:
                part = field.part
                lines += ["", f"[{part}]"] if lines else [f"[{part}]"]
            unit = f"[{field.unit}] " if field.unit else ""
            lines.append(f"# {unit}{field.reason}")
            lines.append(f"{field.name.split('.')[1]} = {toml_value(self.get(field.name))}")
        return "\n".join(lines) + "\n"

    def get(self, name: str) -> float | int | bool | str:
        """The value of a dotted field, such as ``"probe.timeout_s"``. Raises InputError for an unknown name."""
        _known(name)
        part, field = name.split(".")
        value: float | int | bool | str = getattr(getattr(self, part), field)
        return value

    def replace(self, changes: Mapping[str, object]) -> Policy:
        """This policy with dotted fields changed, such as ``{"probe.timeout_s": 3}``; all is checked again."""
        tables = self.model_dump()
        for name, value in changes.items():
            _known(name)
            part, field = name.split(".")
            tables[part][field] = value
        return self._checked(tables, "policy")

    def flat(self) -> dict[str, float | int | bool | str]:
        """All fields as ``{"probe.timeout_s": 5.0, ...}``, in the order of the policy."""
        return {field.name: self.get(field.name) for field in policy_fields()}

    @classmethod
    def from_environment(cls, base: Policy | None = None, env_file: str | Path | None = ".env") -> Policy:
        """``base`` (the default policy) with the fields that ``.env`` or the environment sets.

        ``HUSTLE_PROBE__TIMEOUT_S=3`` sets ``probe.timeout_s``; the environment wins over the file. Raises
        InputError with one sentence.
        """
        try:
            read = _Environment(_env_file=env_file)
        except ValidationError as error:
            raise InputError(sentence(error, "environment (HUSTLE_...)")) from None
        changes = {
            f"{part}.{field}": value
            for part in cls.model_fields
            for field, value in (getattr(read, part) or {}).items()
        }
        return (base or cls()).replace({name.lower(): value for name, value in changes.items()})

    @classmethod
    def _checked(cls, tables: Mapping[str, Any], where: str) -> Policy:
        try:
            return cls.model_validate(tables)
        except ValidationError as error:
            raise InputError(sentence(error, where, _fields())) from None


class _Environment(BaseSettings):
    """The policy's part of the environment; what belongs to the backend is read elsewhere."""

    model_config = SettingsConfigDict(
        env_prefix="HUSTLE_", env_nested_delimiter="__", env_file_encoding="utf-8", extra="ignore"
    )

    probe: dict[str, str] | None = None
    request: dict[str, str] | None = None
    retry: dict[str, str] | None = None
    breaker: dict[str, str] | None = None
    queue: dict[str, str] | None = None
    cache: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of changes to the default, and what it stands for."""

    changes: Mapping[str, object]
    about: str


_NO_BREAKER = {"breaker.enabled": False}
_NO_BUDGET = {"retry.budget_share": 100.0, "retry.budget_floor_per_min": 100000}

PRESETS: dict[str, Preset] = {
    "default": Preset({}, "The hardened default."),
    "original": Preset(
        {
            "probe.interval_s": 300, "probe.timeout_s": 5, "probe.degraded_above_s": 3, "probe.degraded_below_s": 3,
            "probe.window": 1, "probe.fall": 1, "probe.rise": 1, "probe.jitter": 0, "probe.evidence": False,
            "probe.offline_interval_s": 300, "probe.offline_interval_max_s": 300,
            "request.deadline_s": 8, "request.attempt_timeout_s": 8, "request.max_attempts": 1,
            "request.late_answer_window_s": 0, "retry.retry_after_clamp_s": 0,
            "queue.max_size": 50,
            "queue.warn_size": 40, "queue.overflow": "drop-oldest", "queue.max_attempts": 3,
            "queue.outages_count": True, "queue.dead_letters": False, "queue.canary": False,
            "queue.flush_on": "verdict",
            "queue.flush_jitter_s": 0, "queue.ageing_s": 3600, "queue.base_s": 0,
            "queue.drain_per_s": 1000, "queue.drain_concurrency": 1000,
            "cache.enabled": False, **_NO_BREAKER,
        },
        "The first design of the app: one failure is offline, no retry, no breaker, a queue that drops.",
    ),
    "tenacity": Preset(
        {"request.max_attempts": 100, "retry.base_s": 0, "retry.cap_s": 0, "retry.jitter": "none",
         **_NO_BREAKER, **_NO_BUDGET},
        "tenacity 9 as it comes: retries without end and without a wait (here as long as the deadline allows).",
    ),
    "stamina": Preset(
        {"request.max_attempts": 10, "retry.base_s": 0.1, "retry.factor": 2, "retry.cap_s": 5,
         "retry.jitter": "equal", **_NO_BREAKER, **_NO_BUDGET},
        "stamina 26: 10 attempts, 0.1 s doubling up to 5 s (its added jitter is given as equal jitter).",
    ),
    "httpx-retries": Preset(
        {"request.max_attempts": 11, "retry.base_s": 0, "retry.cap_s": 120, "retry.jitter": "full",
         "retry.retry_after_clamp_s": 120, **_NO_BREAKER, **_NO_BUDGET},
        "httpx-retries 0.6 with POST allowed: 10 retries, factor 0, Retry-After honoured up to 120 s.",
    ),
    "botocore": Preset(
        {"request.max_attempts": 3, "retry.base_s": 0.05, "retry.factor": 2, "retry.cap_s": 20,
         "retry.jitter": "full", "retry.retry_after_clamp_s": 5, **_NO_BREAKER},
        "botocore 2026: 3 attempts, 50 ms doubling up to 20 s, full jitter, retries on a quota.",
    ),
    "grpc": Preset(
        {"request.max_attempts": 5, "retry.base_s": 0.1, "retry.factor": 2, "retry.cap_s": 1,
         "retry.jitter": "full", "retry.budget_share": 0.1, "retry.budget_floor_per_min": 5, **_NO_BREAKER},
        "gRPC A6: 5 attempts, 0.1 s doubling up to 1 s, full jitter, throttled by a token bucket.",
    ),
    "polly": Preset(
        {"request.max_attempts": 4, "request.attempt_timeout_s": 30, "queue.lease_s": 60,
         "retry.base_s": 2, "retry.factor": 1, "retry.jitter": "none", "retry.cap_s": 60,
         "breaker.window_s": 30, "breaker.min_calls": 100, "breaker.failure_share": 0.1,
         "breaker.open_s": 5, "breaker.open_factor": 1, "breaker.open_max_s": 5, "breaker.jitter": 0,
         "breaker.slow_share": 1.0, "breaker.slow_call_s": 600, **_NO_BUDGET},
        "Polly 8: 3 retries 2 s apart, attempts of 30 s, breaker at 10 % of at least 100 calls in 30 s.",
    ),
}  # fmt: skip
"""The named policies. What a tool does not have (a queue, a monitor) is as in the default."""


def policy_fields() -> Iterator[PolicyField]:
    """Every tunable, in the order of the policy: the one source of widgets, help, docs and exports."""
    yield from _fields().values()


def _described(part: str, name: str, info: FieldInfo) -> PolicyField:
    bounds = {type(item).__name__: item for item in info.metadata}
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    choices = getattr(info.annotation, "__args__", ()) if "Literal" in str(info.annotation) else ()
    return PolicyField(
        name=f"{part}.{name}",
        part=part,
        # Written without a point it is a float all the same; only what counts is whole.
        default=float(info.default) if info.annotation is float else info.default,
        unit=str(extra.get("unit", "")),
        low=getattr(bounds.get("Ge"), "ge", None),
        high=getattr(bounds.get("Le"), "le", None),
        choices=tuple(choices),
        reason=info.description or "",
    )


_FIELDS: dict[str, PolicyField] = {}


def _fields() -> dict[str, PolicyField]:
    if not _FIELDS:
        for part, holder in Policy.model_fields.items():
            model = holder.annotation
            assert isinstance(model, type)
            assert issubclass(model, BaseModel)
            for name, info in model.model_fields.items():
                _FIELDS[f"{part}.{name}"] = _described(part, name, info)
    return _FIELDS


def _known(name: str) -> None:
    if name not in _fields():
        raise InputError(f"there is no policy field {name!r}{closest(name, _fields())}")
