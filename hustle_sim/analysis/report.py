"""A report of one run, or of two side by side: one HTML file that opens without a server and asks nothing of any host.

Figures can be zoomed and explain themselves, as on the dashboard; they follow the reader's light or dark theme. The
file carries Bokeh's own script, and a content policy that forbids it to load anything.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import holoviews as hv
from bokeh.embed import json_item
from bokeh.resources import Resources
from bokeh.themes import Theme as BokehTheme

from hustle_sim.analysis.density import density_data, is_dense
from hustle_sim.analysis.difference import GLYPHS, differences, on_common_axes
from hustle_sim.analysis.figure_data import Data, latency_data
from hustle_sim.analysis.figure_sets import DENSITY, EVERY, WHOLE
from hustle_sim.analysis.metrics import METRICS, format_metric
from hustle_sim.inputs import InputError, format_duration, toml_value

if TYPE_CHECKING:
    from hustle_sim.analysis.palette import Theme
    from hustle_sim.analysis.run import Run

POINTS = 4_000
"""Attempts of one kind in the latency figure of a report; beyond twice as many it is a density."""


def report(run: Run, other: Run | None = None) -> str:
    """The HTML of a report. With ``other``, every metric and figure of both, and what became better or worse in it."""
    runs = [run] if other is None else [run, other]
    labels = _labels(runs)
    themes: tuple[Theme, ...] = ("light", "dark")
    # A "</script>" in a text must not end the script.
    light, dark = (json.dumps(_figures(runs, labels, theme)).replace("</", "<\\/") for theme in themes)
    parts = [
        f"<h1>{escape(_title(runs, labels))}</h1>",
        *(f"<p>{escape(_about(one, label, len(runs)))}</p>" for one, label in zip(runs, labels, strict=True)),
        "<h2>What people saw</h2>",
        _metrics_table(run) if other is None else _differences_table(run, other, labels),
        '<h2>What happened</h2><div id="figures"></div>',
        "<noscript><p>The figures need JavaScript, which this browser does not run.</p></noscript>",
        "<h2>Policy</h2>",
        _policies(runs, labels),
        *(
            f"<details><summary>Policy as a file{_of(label, runs)}</summary>"
            f"<pre>{escape(one.policy.to_toml())}</pre></details>"
            for one, label in zip(runs, labels, strict=True)
        ),
        "<h2>Scenario</h2>",
        *(_scenario(one) for one in (runs if len(runs) > 1 and runs[0].scenario != runs[1].scenario else runs[:1])),
        f"<footer>Made by hustle_sim {escape(run.version)}.</footer>",
    ]
    script = "\n".join(Resources(mode="inline", components=["bokeh"], minified=True).js_raw)
    return _PAGE.format(
        title=escape(_title(runs, labels)), style=_STYLE, body="\n".join(parts), bokeh=script, light=light, dark=dark
    )


def save_report(path: str | Path, run: Run, other: Run | None = None) -> None:
    """Write a report to a file. Raises InputError with one sentence if it can't be written."""
    contents = report(run, other)
    try:
        Path(path).write_text(contents, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from None


def check_report(path: str | Path) -> None:
    """Raise InputError if a report can't be written there: before a long run, not after it."""
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder: name a file for the report, such as {target / 'report.html'}")
    if not target.parent.is_dir():
        raise InputError(f"{target} can't be written: there is no folder {target.parent}")


def _labels(runs: list[Run]) -> list[str]:
    """What the runs are called in the report; two that are called the same become A and B."""
    sides = "AB"[: len(runs)]
    labels = [run.label or side for run, side in zip(runs, sides, strict=True)]
    if len(set(labels)) == len(labels):
        return labels
    return [f"{label} ({side})" for label, side in zip(labels, sides, strict=True)]


def _title(runs: list[Run], labels: list[str]) -> str:
    return (
        runs[0].name if len(runs) == 1 else f"{labels[0]} and {labels[1]}, {runs[0].scenario.get('name', 'two runs')}"
    )


def _of(label: str, runs: list[Run]) -> str:
    return f": {escape(label)}" if len(runs) > 1 else ""


def _about(run: Run, label: str, runs: int) -> str:
    """A run in two sentences."""
    shown = {name: format_metric(name, run.metrics[name]) for name in METRICS}
    who = f"{label}: " if runs > 1 else ""
    seed = f", seed {run.seed}" if run.seed is not None else ""
    kind = "simulated" if run.backend_truth else "live"
    lost = "no message was lost" if run.metrics["lost"] == 0 else f"{shown['lost']} messages were lost"
    return (
        f"{who}{format_duration(run.duration_s)} {kind}, from {run.start:%Y-%m-%d %H:%M} UTC{seed}. Of "
        f"{shown['messages']} messages, {shown['answered_share']} were answered by the coach in time; nobody waited "
        f"longer than {shown['answer_max_s']} for a first answer; {lost}."
    )


def _metrics_table(run: Run) -> str:
    rows = "".join(
        f"<tr><th scope=row>{name}</th><td class=number>{format_metric(name, run.metrics[name])}</td>"
        f"<td>{escape(metric.text)}</td></tr>"
        for name, metric in METRICS.items()
    )
    return f"<table><thead><tr><th>Metric</th><th>Value</th><th>What it says</th></tr></thead>{rows}</table>"


def _differences_table(first: Run, second: Run, labels: list[str]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{name}</th><td class=number>{each.first_text}</td><td class=number>{each.second_text}</td>"
        f'<td class="number {each.direction}">{GLYPHS[each.direction]} {each.change_text}'
        f"{f' {each.direction}' if each.direction in ('better', 'worse') else ''}</td>"
        f"<td>{escape(METRICS[name].text)}</td></tr>"
        for name, each in differences(first, second).items()
    )
    heads = "".join(f"<th>{escape(head)}</th>" for head in ("Metric", *labels, "Difference", "What it says"))
    return f"<table><thead><tr>{heads}</tr></thead>{rows}</table>"


def _policies(runs: list[Run], labels: list[str]) -> str:
    """The fields that differ from the default, or between the runs."""
    usual = type(runs[0].policy)().flat()
    policies = [run.policy.flat() for run in runs]
    changed = [name for name, value in usual.items() if any(each[name] != value for each in policies)]
    if not changed:
        return "<p>The default policy, in every field.</p>"
    heads = "".join(
        f"<th>{escape(head)}</th>" for head in ("Field", *(labels if len(runs) > 1 else ["Value"]), "Default policy")
    )
    rows = "".join(
        f"<tr><th scope=row>{name}</th>"
        + "".join(f"<td class=number>{escape(toml_value(each[name]))}</td>" for each in [*policies, usual])
        + "</tr>"
        for name in changed
    )
    return (
        f"<p>The fields that are not as in the default policy:</p><table><thead><tr>{heads}</tr></thead>{rows}</table>"
    )


def _scenario(run: Run) -> str:
    if not run.scenario:
        return "<p>A live session: the backend was a real one.</p>"
    text = json.dumps(run.scenario, indent=2, ensure_ascii=False)
    words = escape(str(run.scenario.get("description", run.scenario.get("name", ""))))
    return f"<p>{words}</p><details><summary>All of it, as JSON</summary><pre>{escape(text)}</pre></details>"


def _figures(runs: list[Run], labels: list[str], theme: Theme) -> Any:
    """All figures of the runs under each other with one time axis, as Bokeh's JSON."""
    truth = all(run.backend_truth for run in runs)
    clock = None if truth else runs[0].start
    drawn = []
    for name in WHOLE:
        if name == "load" and not truth:
            continue
        dense = name == "latency" and any(is_dense(run, 2 * POINTS) for run in runs)
        one = DENSITY if dense else EVERY[name]
        data = [_data(run, name, dense) for run in runs]
        if len(data) == 2:
            data = [
                {**each, "note": f"{label}; {each['note']}" if each["note"] else label}
                for each, label in zip(on_common_axes(*data), labels, strict=True)
            ]
        drawn += [one.draw(each, theme=theme, clock=clock, backend="bokeh") for each in data]
    state = hv.renderer("bokeh").get_plot(hv.Layout(drawn).cols(1)).state
    state.sizing_mode = "stretch_width"
    return json_item(state, "figures", theme=BokehTheme(json=_THEMES[theme]))


def _data(run: Run, name: str, dense: bool) -> Data:
    if dense:
        return density_data(run)
    return latency_data(run, POINTS) if name == "latency" else EVERY[name].make(run)


def _theme(ink: str, ground: str, grid: str) -> dict[str, Any]:
    return {
        "attrs": {
            "Plot": {"background_fill_color": ground, "border_fill_color": ground, "outline_line_color": grid},
            "Grid": {"grid_line_color": grid, "grid_line_alpha": 0.5},
            "Axis": {
                "major_label_text_color": ink, "axis_label_text_color": ink, "axis_line_color": grid,
                "major_tick_line_color": grid,
            },
            "Legend": {"label_text_color": ink, "background_fill_color": ground},
            "Title": {"text_color": ink},
        }
    }  # fmt: skip


_THEMES = {"light": _theme("#22272B", "#FFFFFF", "#D5D9DC"), "dark": _theme("#F2F4F5", "#16191C", "#3A4147")}

_STYLE = """
:root { color-scheme: light dark; --ink: #22272b; --ground: #fff; --quiet: #5c646b; --rule: #d5d9dc;
        --better: #127b5b; --worse: #790b18; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f2f4f5; --ground: #16191c; --quiet: #aeb5bb; --rule: #3a4147; --better: #37bba3; --worse: #ff6b8e; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto;
       max-width: 1180px; padding: 16px; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; padding: 3px 14px 3px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tbody th { font-weight: 500; } .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.better { color: var(--better); } .worse { color: var(--worse); }
pre { overflow-x: auto; font-size: 12.5px; } summary { cursor: pointer; } footer { color: var(--quiet); margin: 2em 0; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>{bokeh}</script>
<script type="application/json" id="light">{light}</script>
<script type="application/json" id="dark">{dark}</script>
<script>
const dark = window.matchMedia("(prefers-color-scheme: dark)");
async function draw() {{
  const place = document.getElementById("figures");
  place.replaceChildren();
  await Bokeh.embed.embed_item(JSON.parse(document.getElementById(dark.matches ? "dark" : "light").textContent), place);
}}
dark.addEventListener("change", draw);
draw();
</script>
</body>
</html>
"""
