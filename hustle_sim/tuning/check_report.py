"""A check as what a pull request wants: JUnit XML for the machine, Markdown with pictures for the reviewer."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from matplotlib.figure import Figure

from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.inputs import InputError
from hustle_sim.tuning.check import BASELINE, THIS, Check, Finding

_MARK = {"kept": "✅ kept", "broken": "❌ broken", "unsure": "⚠️ unsure", "not measured": "➖ not measured"}
_LOOK = {
    "kept": ("#127B5B", "o"), "broken": ("#95091B", "X"), "unsure": ("#A46509", "D"), "not measured": ("#5C646B", "x"),
}  # fmt: skip
_HEADLINES = (
    "answered_share", "answer_p99_s", "fallback_share", "late_p50_s", "lost", "dead", "rejected", "amplification",
    "spend_multiplier", "recovery_peak", "detection_s", "drained_s",
)  # fmt: skip


def junit(check: Check) -> str:
    """The check as JUnit XML: a suite for each scenario, a case for each limit, with the numbers in its output."""
    suites = ElementTree.Element("testsuites", name="hustle-sim check")
    for scenario in dict.fromkeys(each.scenario for each in check.findings):
        own = [each for each in check.findings if each.scenario == scenario]
        counts: dict[str, object] = {
            "tests": len(own),
            "failures": sum(each.verdict == "broken" for each in own),
            "skipped": sum(each.verdict == "not measured" for each in own),
            "errors": 0,
        }
        suite = ElementTree.SubElement(
            suites, "testsuite", {"name": scenario, **{name: str(value) for name, value in counts.items()}}
        )
        properties = ElementTree.SubElement(suite, "properties")
        first, count = check.about["seeds"]
        for name, value in (("version", check.about["version"]), ("seeds", f"{first} to {first + count - 1}")):
            ElementTree.SubElement(properties, "property", name=name, value=str(value))
        for each in own:
            title = f"{each.limit.metric}: {each.limit}"
            case = ElementTree.SubElement(suite, "testcase", classname=f"hustle-sim.{scenario}", name=title, time="0")
            if each.verdict == "broken":
                ElementTree.SubElement(case, "failure", message=each.sentence, type="limit").text = each.sentence
            elif each.verdict == "not measured":
                ElementTree.SubElement(case, "skipped", message=each.sentence)
            else:
                ElementTree.SubElement(case, "system-out").text = each.sentence
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def markdown(check: Check, pictures: dict[str, str] | None = None) -> str:
    """The check as Markdown; ``pictures`` are paths by scenario, as seen from the report."""
    broken = len(check.broken)
    unsure = sum(each.verdict == "unsure" for each in check.findings)
    head = (
        f"**{broken} of {len(check.findings)} limits broken.**"
        if broken
        else (f"**All {len(check.findings)} limits are kept.**" if not unsure else "**No limit is broken.**")
    )
    first, count = check.about["seeds"]
    lines = ["# What this policy does in an outage", "", head + (f" {unsure} unsure." if unsure else ""), ""]
    lines += _changes(check)
    lines += ["| | scenario | metric | limit | mean | 95 % interval | worst |", "|---|---|---|---|---|---|---|"]
    worst_first = ("broken", "unsure", "not measured", "kept")
    for each in sorted(check.findings, key=lambda each: worst_first.index(each.verdict)):
        lines.append("| " + " | ".join(_cells(each)) + " |")
    lines.append("")
    if check.baseline is not None:
        lines += _differences(check)
    for scenario, picture in (pictures or {}).items():
        lines += [f"## {scenario}", "", f"![Limits and what was measured in {scenario}]({picture})", ""]
    lines += [
        f"{count} simulations of each scenario with the seeds {first} to {first + count - 1}, by hustle_sim "
        f"{check.about['version']}. A limit on the mean is broken when the whole 95 % interval is beyond it.",
        "",
    ]
    return "\n".join(lines)


def write_report(check: Check, path: Path) -> None:
    """Write the Markdown report, with its pictures in a folder beside it. Raises InputError if that can't be."""
    folder = path.with_name(path.stem + "-pictures")
    pictures = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for scenario in dict.fromkeys(each.scenario for each in check.findings):
            own = [each for each in check.findings if each.scenario == scenario and each.measured.n]
            if own:
                name = f"{scenario}.png"
                _picture(own).savefig(folder / name, dpi=110)
                pictures[scenario] = f"{folder.name}/{name}"
        path.write_text(markdown(check, pictures), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the report can't be written there: {error.strerror or error}") from None


def _cells(each: Finding) -> list[str]:
    name = each.limit.metric
    if each.verdict == "not measured":
        return [_MARK[each.verdict], each.scenario, f"`{name}`", str(each.limit), "–", "–", "–"]
    mean = format_metric(name, each.measured.mean)
    worst = f"{format_metric(name, each.worst)} (seed {each.worst_seed})"
    return [_MARK[each.verdict], each.scenario, f"`{name}`", str(each.limit), mean, each.interval, worst]


def _changes(check: Check) -> list[str]:
    against = "the baseline" if check.baseline is not None else "the default policy"
    if not check.changes:
        return [f"The policy is {against}.", ""]
    rows = [f"| `{name}` | {before} | {now} |" for name, (before, now) in check.changes.items()]
    return ["| field | " + against + " | now |", "|---|---|---|", *rows, ""]


def _differences(check: Check) -> list[str]:
    title = ["## Against the baseline", ""]
    lines = [*title, "| scenario | metric | before | now | difference | |", "|---|---|---|---|---|---|"]
    table = check.comparison
    for scenario in dict.fromkeys(table["scenario"]):
        for metric in _HEADLINES:
            rows = table[(table["scenario"] == scenario) & (table["metric"] == metric)].set_index("policy")
            mine, theirs = rows.loc[THIS], rows.loc[BASELINE]
            if mine["verdict"] not in ("better", "worse"):
                continue
            between = " to ".join(_signed(metric, mine[name]) for name in ("difference_low", "difference_high"))
            lines.append(
                f"| {scenario} | `{metric}` | {format_metric(metric, theirs['mean'])} | "
                f"{format_metric(metric, mine['mean'])} | {between} | {mine['verdict']} |"
            )
    if len(lines) == 4:
        return [*title, "No difference is sure.", ""]
    return [*lines, ""]


def _signed(metric: str, value: float) -> str:
    sign = "−" if value < 0 else "+"
    if METRICS[metric].unit == "times" and abs(value) < 0.1:
        return f"{sign}{abs(value):.2g}×"
    return sign + format_metric(metric, abs(value))


def _picture(findings: list[Finding]) -> Figure:
    """Each limit of a scenario with the mean and its interval, on an axis of its own."""
    figure = Figure(figsize=(7.2, 0.75 * len(findings) + 0.3), layout="constrained")
    places = figure.subplots(len(findings), 1, squeeze=False)[:, 0]
    for axis, each in zip(places, findings, strict=True):
        colour, marker = _LOOK[each.verdict]
        measured, limit = each.measured, each.limit
        bounds = [bound for bound in (limit.at_most, limit.at_least) if not math.isinf(bound)]
        for bound in bounds:
            axis.axvline(bound, color="#22272B", linestyle="--", linewidth=1.2)
        if measured.n > 1:
            axis.plot(
                [measured.low, measured.high], [0, 0], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt"
            )
        axis.plot([measured.mean], [0], marker, color=colour, markersize=7)
        axis.plot([each.worst], [0], "|", color="#5C646B", markersize=10)
        axis.set_yticks([0], [f"{limit.metric}\n{each.verdict}"], fontsize=8)
        axis.set_ylim(-1, 1)
        axis.xaxis.set_major_formatter(lambda value, _place, name=limit.metric: format_metric(name, value))
        axis.tick_params(axis="x", labelsize=7)
        axis.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
        values = [measured.mean, each.worst, *bounds, *((measured.low, measured.high) if measured.n > 1 else ())]
        low, high = min(values), max(values)
        margin = (high - low) * 0.08 or max(abs(high) * 0.1, 0.05 if METRICS[limit.metric].unit == "share" else 1.0)
        axis.set_xlim(low - margin, high + margin)
    return figure
