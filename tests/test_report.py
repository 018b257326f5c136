"""Reports and pictures: files that stand alone."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from events_by_hand import Story, outage_story

import hustle_sim as hs
from hustle_sim.analysis import METRICS, Run
from hustle_sim.analysis.figure_sets import EVERY
from hustle_sim.analysis.pictures import picture, save_picture
from hustle_sim.analysis.report import check_report, report, save_report
from hustle_sim.inputs import InputError


@pytest.fixture(scope="module")
def run() -> Run:
    return outage_story().run(duration_s=7200.0, label="mine")


class Loads(HTMLParser):
    """What a browser would load, and the texts of the scripts that are not Bokeh's."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.policy = ""
        self.words: list[str] = []
        self._in = ""

    def handle_starttag(self, tag, attributes):
        self._in = tag
        values = dict(attributes)
        self.asked += [str(values[name]) for name in ("src", "href", "srcset", "data", "action") if name in values]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "style":
            self.asked += re.findall(r"url\([^)]*\)|@import[^;]*", data)
        elif self._in not in ("script", "style"):
            self.words.append(data)


@pytest.mark.parametrize("runs", [1, 2])
def test_a_report_asks_nothing_of_any_host_and_is_not_large(run: Run, runs: int):
    other = outage_story(every_s=20.0).run(duration_s=7200.0, label="other")
    text = report(run, other if runs == 2 else None)
    page = Loads()
    page.feed(text)
    assert page.asked == ["data:,"]
    assert page.policy.startswith("default-src 'none'")
    assert "http" not in page.policy
    assert len(text) < 8_000_000
    words = " ".join(page.words)
    assert "http" not in words
    for name in METRICS:
        assert name in words
    # Besides Bokeh's own script nothing even names a host.
    scripts = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(scripts) == 2
    assert not any("http" in script for script in scripts)
    assert "root_id" in scripts[0]


def test_a_report_says_what_people_saw_and_what_changed(run: Run):
    page = Loads()
    page.feed(report(run, Story().answered("a", 1).run(duration_s=7200.0, label="calm")))
    words = " ".join(" ".join(page.words).split())
    assert "mine and calm, by hand" in words
    assert "mine: 2 h simulated, from 2026-11-02 09:00 UTC, seed 7. Of 240 messages, 66.7 %" in words
    assert "▲ −8 better" in words
    assert "The default policy, in every field." in words


def test_a_report_lists_the_changed_fields_of_the_policy_and_nothing_ends_its_scripts():
    policy = hs.Policy().replace({"request.deadline_s": 6})
    text = report(outage_story().run(policy=policy, scenario={"name": "</script><b>odd"}))
    assert text.count("</script>") == 4
    assert "<b>odd" not in text
    assert "<th scope=row>request.deadline_s</th><td class=number>6</td><td class=number>8</td>" in text


def test_a_live_session_and_an_empty_run_have_reports_too():
    assert "A live session" in report(outage_story().run(backend_truth=False, seed=None, scenario={}))
    assert "No messages in this run." in report(Story().run())


def test_a_report_that_cannot_be_written_is_one_clear_sentence(run: Run, tmp_path: Path):
    save_report(tmp_path / "report.html", run)
    assert (tmp_path / "report.html").stat().st_size > 100_000
    with pytest.raises(InputError, match="is a folder: name a file"):
        check_report(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        check_report(tmp_path / "none" / "report.html")
    with pytest.raises(InputError, match="can't be written"):
        save_report(tmp_path / "none" / "report.html", run)


@pytest.mark.parametrize("name", [*EVERY, "waterfall"])
def test_every_figure_can_be_a_small_picture(run: Run, name: str):
    svg = picture(run, name, message_id="0-80")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert len(svg) < 700_000
    assert svg == picture(run, name, message_id="0-80")


def test_a_picture_can_be_png_dark_and_a_file(run: Run, tmp_path: Path):
    light, dark = (picture(run, "status", "png", theme=theme) for theme in ("light", "dark"))
    assert light.startswith(b"\x89PNG")
    assert light != dark
    save_picture(run, "queue", tmp_path / "queue.png")
    assert (tmp_path / "queue.png").read_bytes().startswith(b"\x89PNG")


def test_outages_have_their_own_colour_in_a_picture_too(run: Run):
    # Matplotlib's renderer took the first colour of its own cycle for them.
    assert b"#95091b" in picture(run, "queue").lower()


def test_drawing_a_picture_leaves_the_backend_of_holoviews_as_it_was(run: Run):
    import holoviews as hv

    before = hv.Store.current_backend
    picture(run, "status")
    assert hv.Store.current_backend == before


@pytest.mark.parametrize(
    ("name", "format", "words"),
    [("latncy", "svg", "no figure 'latncy'; did you mean 'latency'"), ("latency", "pdf", "it is svg or png")],
)
def test_a_picture_that_is_not_there_is_one_clear_sentence(run: Run, name, format, words):
    with pytest.raises(InputError, match=words):
        picture(run, name, format)
