"""A policy as the constants of a language, or as a file that ``Policy`` reads again."""

from __future__ import annotations

import json

from hustle_sim.inputs import toml_value
from hustle_sim.policy import Policy, PolicyField, policy_fields
from hustle_sim.tuning.export.parts import TITLE, Export, Taken, comment, described, exact, milliseconds, plain

TYPESCRIPT_NAMES = {
    "probe.interval_s": "HEALTH_CHECK_INTERVAL",
    "probe.timeout_s": "HEALTH_CHECK_TIMEOUT",
    "probe.degraded_above_s": "DEGRADED_THRESHOLD",
    "request.attempt_timeout_s": "REQUEST_TIMEOUT",
    "queue.max_size": "maxQueueSize",
    "queue.max_attempts": "maxRetries",
}
"""The names that apps already use in backendHealth.ts and requestQueue.ts; the others are made from the fields'."""

_LONGEST_TIMER_MS = 2**31 - 1
"""A longer delay makes JavaScript's setTimeout fire at once."""


def env(policy: Policy) -> Export:
    """Environment variables for ``.env``: ``Policy.from_environment`` reads them again."""
    lines = comment(TITLE, "# ")
    for field in policy_fields():
        part, name = field.name.upper().split(".")
        lines += ["", *comment(described(field), "# "), f"HUSTLE_{part}__{name}={_bare(policy.get(field.name))}"]
    return Export("\n".join(lines) + "\n")


def toml(policy: Policy) -> Export:
    """The file that ``Policy.save`` writes and ``Policy.load`` reads."""
    return Export(policy.to_toml())


def as_json(policy: Policy) -> Export:
    """A table for each part, and under ``about`` what each field is for: JSON has no comments. It loads again."""
    tables: dict[str, dict[str, object]] = {}
    for field in policy_fields():
        tables.setdefault(field.part, {})[field.name.split(".")[1]] = policy.get(field.name)
    about = {field.name: f"[{field.unit}] {field.reason}" if field.unit else field.reason for field in policy_fields()}
    return Export(json.dumps({"about": about, **tables}, indent=2, ensure_ascii=False) + "\n")


def python(policy: Policy) -> Export:
    """A module of constants: ``PROBE_TIMEOUT_S: Final = 5.0``. Durations are seconds."""
    lines = [*comment(TITLE, "# "), "", "from typing import Final"]
    for field in policy_fields():
        value = policy.get(field.name)
        written = json.dumps(value) if isinstance(value, str) else repr(value)
        lines += ["", *comment(described(field), "# "), f"{field.name.upper().replace('.', '_')}: Final = {written}"]
    return Export("\n".join(lines) + "\n")


def typescript(policy: Policy) -> Export:
    """Constants in milliseconds: what backendHealth.ts needs, and an object for requestQueue.ts."""
    taken = Taken(policy)
    lines: list[str] = []
    queue: list[str] = []
    for field in policy_fields():
        value = policy.get(field.name)
        written, unit = _in_milliseconds(field, value)
        name = typescript_name(field)
        if field.unit == "s" and float(written) > _LONGEST_TIMER_MS:
            taken.warn(
                field.name, f"{name} is longer than setTimeout can wait ({_LONGEST_TIMER_MS} ms): compare dates instead"
            )
        if field.part == "queue":
            queue += [*_doc(described(field, unit), "  "), f"  {name}: {written},"]
        else:
            lines += ["", *_doc(described(field, unit)), f"export const {name} = {written};"]
    lines += ["", *_doc("What requestQueue.ts needs."), "export const requestQueue = {", *queue, "} as const;"]
    return taken.export(lines[1:], "// ")


def typescript_name(field: PolicyField) -> str:
    """The field's name in TypeScript: one that apps use, or made from the field's own."""
    if field.name in TYPESCRIPT_NAMES:
        return TYPESCRIPT_NAMES[field.name]
    part, name = field.name.split(".")
    if field.unit == "s":
        name = f"{name.removesuffix('_s')}_ms"
    return _camel(name) if part == "queue" else f"{part}_{name}".upper()


def kotlin(policy: Policy) -> Export:
    """An object with an object for each part; durations are milliseconds as Long, as ``delay`` takes them."""
    taken = Taken(policy)
    lines = ["object Resilience {"]
    part = ""
    for field in policy_fields():
        if field.part != part:
            lines += ["    }", ""] if part else []
            part = field.part
            lines.append(f"    object {part.capitalize()} {{")
        value = policy.get(field.name)
        written, unit = _in_milliseconds(field, value)
        name = field.name.split(".")[1]
        if field.unit == "s":
            name = f"{name.removesuffix('_s')}_ms"
            whole = "." not in written
            kind, written = ("Long", f"{written}L") if whole else ("Double", written)
            if not whole:
                taken.warn(field.name, "it is no whole number of milliseconds, and so a Double instead of a Long")
        else:
            kind = {bool: "Boolean", int: "Int", float: "Double", str: "String"}[type(value)]
            written = f"{written}.0" if kind == "Double" and "." not in written else written
        lines += [*_doc(described(field, unit), "        "), f"        const val {name.upper()}: {kind} = {written}"]
    return taken.export([*lines, "    }", "}"], "// ")


def swift(policy: Policy) -> Export:
    """An enum with an enum for each part; durations are seconds as TimeInterval, as URLRequest takes them."""
    lines = [*comment(TITLE, "// "), "", "import Foundation", "", "public enum Resilience {"]
    part = ""
    for field in policy_fields():
        if field.part != part:
            lines += ["    }", ""] if part else []
            part = field.part
            lines.append(f"    public enum {part.capitalize()} {{")
        value = policy.get(field.name)
        name = field.name.split(".")[1]
        if field.unit == "s":
            name = f"{name.removesuffix('_s')}_seconds"
            kind = "TimeInterval"
        else:
            kind = {bool: "Bool", int: "Int", float: "Double", str: "String"}[type(value)]
        lines += [
            *comment(described(field), "        /// "),
            f"        public static let {_camel(name)}: {kind} = {_written(value)}",
        ]
    return Export("\n".join([*lines, "    }", "}"]) + "\n")


def _in_milliseconds(field: PolicyField, value: float | int | bool | str) -> tuple[str, str]:
    """How a value is written, and its unit, in a language that counts durations in milliseconds."""
    if field.unit == "s":
        return milliseconds(exact(float(value))), "ms"
    return _written(value), field.unit


def _written(value: float | int | bool | str) -> str:
    """A literal that TypeScript, Kotlin and Swift share."""
    return plain(exact(value)) if isinstance(value, float) else json.dumps(value)


def _bare(value: object) -> str:
    return value if isinstance(value, str) else toml_value(value)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _doc(text: str, indent: str = "") -> list[str]:
    """A ``/** ... */`` comment, on one line if it fits."""
    if len(text) <= 100:
        return [f"{indent}/** {text} */"]
    return [f"{indent}/**", *comment(text, f"{indent} * "), f"{indent} */"]
