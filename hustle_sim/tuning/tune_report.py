"""What a tuning found, in words: what to ship, what is gained, how sure that is, and what it does not say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.inputs import format_duration
from hustle_sim.policy import policy_fields
from hustle_sim.tuning.table import format_difference

if TYPE_CHECKING:
    from hustle_sim.tuning.tune import Tuning

_MARK = {"better": "▲", "worse": "▼", "unsure": "?", "same": "=", "": ""}


def headline(tuning: Tuning) -> str:
    """What was gained, in a sentence: which presets are beaten on what nobody has seen before."""
    rows = tuning.beaten
    searched = rows[rows["scope"] == rows["scope"].iloc[0]]
    beaten, others = list(searched.loc[searched["beaten"], "policy"]), list(searched["policy"])
    worse = list(searched.loc[searched["worse"] > 0, "policy"])
    least = min(2, len(tuning.objectives))
    what = f"better on at least {_count(least, 'objective')} and worse on none"
    if len(beaten) == len(others):
        words = f"{tuning.winner} beats {_each(others)}: {what}, outside the 95 % intervals"
    elif beaten:
        words = f"{tuning.winner} beats {_listed(beaten)} ({what}, outside the 95 % intervals)"
        left = [name for name in others if name not in beaten and name not in worse]
        words += f"; it is no worse than {_listed(left)}" if left else ""
        words += f"; it is worse on some objective than {_listed(worse)}" if worse else ""
    else:
        words = f"{tuning.winner} is the best compromise, and beats none of {_listed(others)} ({what})"
    first, count = tuning.about["seeds"]["proof"]
    return (
        f"{words}, with {count} seeds ({first} to {first + count - 1}) that neither the search nor the choice had seen."
    )


def sentences(tuning: Tuning) -> list[str]:
    """What else there is to say: how it was searched, unseen scenarios, limits, and what is worse where."""
    about, rows = tuning.about, tuning.beaten
    counts = tuning.trials["outcome"].value_counts()
    first, count = about["seeds"]["search"]
    told = [
        f"Searched: {_count(len(tuning.trials) - int(counts.get('refused', 0)), 'policy')} over "
        f"{_count(len(about['search']), 'field')} on {_listed(list(about['scenarios']))}, with the seeds {first} to "
        f"{first + count - 1}; {_count(int(counts.get('refused', 0)), 'impossible combination')} refused, "
        f"{int(counts.get('broken', 0))} broke a limit, {int(counts.get('dropped', 0))} dropped out early, "
        f"{int(counts.get('finished', 0))} met all seeds."
    ]
    if about["unseen"]:
        unseen = rows[rows["scope"] == "unseen scenarios"]
        better, worse = list(unseen.loc[unseen["beaten"], "policy"]), list(unseen.loc[unseen["worse"] > 0, "policy"])
        told.append(
            f"On scenarios that the search never saw ({_listed(list(about['unseen']))}) it "
            + (
                f"beats {_each(better) if len(better) == len(unseen) else _listed(better)}"
                if better
                else "beats none of them"
            )
            + (f", and is worse on some objective than {_listed(worse)}." if worse else ", and is worse than none.")
        )
    front = tuning.front
    if not bool(front.loc[front["recommended"], "kept"].iloc[0]):
        told.append(
            "It breaks a limit on seeds that the search had not seen: search further, or with more replications."
        )
    presets = tuning.presets
    failing = list(presets.loc[~presets["kept"], "policy"])
    if failing:
        breaks = "breaks a limit itself" if len(failing) == 1 else "break a limit themselves"
        told.append(f"Of the others, {_listed(failing)} {breaks}.")
    knee = str(front.loc[front["knee"], "policy"].iloc[0])
    if knee != tuning.winner:
        told.append(f"The knee of the front is {knee}; it beats fewer presets.")
    proof = tuning.proof
    others = list(dict.fromkeys(proof["policy"]))
    single = proof[proof["scope"].isin([*about["scenarios"], *about["unseen"]]) & (proof["verdict"] == "worse")]
    if len(single):
        worst = [
            f"{metric} in {scope} (than {_listed(list(own['policy'])) if len(own) < len(others) else 'any preset'})"
            for (scope, metric), own in single.groupby(["scope", "metric"], sort=False)
        ]
        told.append(f"Looked at scenario by scenario, it is worse in: {'; '.join(worst)}.")
    else:
        told.append("Looked at scenario by scenario, it is worse than no preset in any objective.")
    told.append("Each interval holds for itself: of twenty that hold zero in truth, one won't.")
    return told


def text(tuning: Tuning) -> str:
    """The report for a screen of text."""
    lines = [
        headline(tuning),
        "",
        *sentences(tuning),
        "",
        f"{tuning.winner} differs from what the search began with in:",
    ]
    lines += [f"  {name:<32} {before} -> {now}" for name, before, now in changes(tuning)]
    return "\n".join(lines)


def markdown(tuning: Tuning) -> str:
    """The report as Markdown."""
    lines = ["# What to ship", "", f"**{headline(tuning)}**", ""]
    lines += [each for sentence in sentences(tuning) for each in (sentence, "")]
    lines += ["| field | before | tuned |", "|---|---|---|"]
    lines += [f"| `{name}` | {before} | {now} |" for name, before, now in changes(tuning)]
    lines += ["", "## The front and the presets", "", *front_table(tuning), ""]
    scopes = list(dict.fromkeys(tuning.proof["scope"]))[: 2 if tuning.about["unseen"] else 1]
    for scope in scopes:
        lines += [f"## {tuning.winner} against the presets: {scope}, unseen seeds", "", *proof_table(tuning, scope), ""]
    return "\n".join(lines)


def changes(tuning: Tuning) -> list[tuple[str, str, str]]:
    """The fields that were changed, as people read them: name, before, now."""
    units = {field.name: field.unit for field in policy_fields()}
    return [
        (name, _shown(before, units[name]), _shown(now, units[name])) for name, (before, now) in tuning.changes.items()
    ]


def front_table(tuning: Tuning) -> list[str]:
    """The front and the presets as the lines of a Markdown table."""
    metrics = [objective.metric for objective in tuning.objectives]
    lines = ["| policy | " + " | ".join(f"`{name}`" for name in metrics) + " |", "|---|" + "---|" * len(metrics)]
    for row in pd.concat([tuning.front, tuning.presets]).to_dict("records"):
        cells = [f"{format_metric(name, row[name])} ± {spread(name, row)}" for name in metrics]
        lines.append(f"| {marked(row)} | " + " | ".join(cells) + " |")
    return lines


def proof_table(tuning: Tuning, scope: str) -> list[str]:
    """The recommended policy against each preset, as the lines of a Markdown table."""
    proof = tuning.proof
    rows = proof[proof["scope"] == scope]
    metrics = [objective.metric for objective in tuning.objectives]
    lines = [
        "| against | " + " | ".join(f"`{name}`" for name in metrics) + " | |",
        "|---|" + "---|" * (len(metrics) + 1),
    ]
    beaten = tuning.beaten
    beaten = beaten[beaten["scope"] == scope]
    said = {
        str(row["policy"]): "beaten" if row["beaten"] else ("worse in some" if row["worse"] else "")
        for row in beaten.to_dict("records")
    }
    for other, own in rows.groupby("policy", sort=False):
        by_metric = {str(row["metric"]): row for row in own.to_dict("records")}
        cells = [difference(name, by_metric[name]) for name in metrics]
        lines.append(f"| {other} | " + " | ".join(cells) + f" | {said[str(other)]} |")
    return lines


def difference(metric: str, row: dict[Any, Any], *, interval: bool = True) -> str:
    """A paired difference with what it means and its interval: ``"▲ −210 ms (−240 ms to −180 ms)"``."""
    if math.isnan(row["difference"]):
        return "–"
    words = f"{_MARK[row['verdict']]} {_off(metric, row['difference'])}"
    if not interval or row["low"] == row["high"] or math.isnan(row["low"]):
        return words
    return f"{words} ({_off(metric, row['low'])} to {_off(metric, row['high'])})"


def spread(metric: str, row: dict[Any, Any]) -> str:
    """How far a mean of ``front`` or ``presets`` may be off, in words."""
    off = (row[f"{metric}_high"] - row[f"{metric}_low"]) / 2
    return "–" if math.isnan(off) else _off(metric, off).lstrip("+")


def marked(row: dict[Any, Any]) -> str:
    """A policy's label, with what it is."""
    marks = [word for word, is_so in (("recommended", row["recommended"]), ("knee", row["knee"])) if is_so]
    marks += [] if row["kept"] else ["breaks a limit"]
    return f"{row['policy']} ({', '.join(marks)})" if marks else str(row["policy"])


def _off(metric: str, value: float) -> str:
    """A difference, without the digits that nobody reads: an effect of less than 0.0001 on a ratio is shown as 0."""
    if METRICS[metric].unit == "times" and abs(value) < 0.1:
        digits = f"{abs(value):.4f}".rstrip("0").rstrip(".")
        return "0" if digits == "0" else f"{'+' if value > 0 else '−'}{digits}×"
    return format_difference(metric, value)


def _shown(value: Any, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_duration(float(value)) if unit == "s" else f"{value:g}"
    return str(value)


def _count(number: int, word: str) -> str:
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{number} {word if number == 1 else plural}"


def _each(names: list[str]) -> str:
    return f"every one of {_listed(names)}" if len(names) > 1 else names[0]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else (names[0] if names else "none")
