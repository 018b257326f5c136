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


@pytest.fixture(scope="module")
def one() -> str:
    """A report of a run with a policy of its own, and a name that tries to break out of the page."""
    policy = hs.Policy().replace({"request.deadline_s": 6})
    return report(outage_story().run(duration_s=7200.0, policy=policy, scenario={"name": "</script><b>odd"}))


@pytest.fixture(scope="module")
def two(run: Run) -> str:
    """A report of two runs, the second of them all but empty."""
    return report(run, Story().answered("a", 1).run(duration_s=7200.0, label="calm"))


def words_of(text: str) -> str:
    page = Loads()
    page.feed(text)
    return " ".join(" ".join(page.words).split())


@pytest.mark.parametrize("which", ["one", "two"])
def test_a_report_asks_nothing_of_any_host_and_is_not_large(which: str, request: pytest.FixtureRequest):
    text = request.getfixturevalue(which)
    page = Loads()
    page.feed(text)
    assert page.asked == ["data:,"]
    assert page.policy.startswith("default-src 'none'")
    assert "http" not in page.policy
    assert len(text) < 8_000_000
    words = " ".join(page.words)
    assert "http" not in words
    assert all(name in words for name in METRICS)
    # Besides Bokeh's own script nothing even names a host.
    scripts = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(scripts) == 2
    assert not any("http" in script for script in scripts)
    assert "root_id" in scripts[0]


def test_a_report_says_what_people_saw_and_what_changed(two: str):
    words = words_of(two)
    assert "mine and calm, by hand" in words
    assert "mine: 2 h simulated, from 2026-11-02 09:00 UTC, seed 7. Of 240 messages, 66.7 %" in words
    assert "▲ −8 better" in words
    assert "The default policy, in every field." in words


def test_a_report_lists_the_changed_fields_of_the_policy_and_nothing_ends_its_scripts(one: str):
    assert one.count("</script>") == 4
    assert "<b>odd" not in one
    assert "<th scope=row>request.deadline_s</th><td class=number>6</td><td class=number>8</td>" in one


def test_an_empty_live_session_has_a_report_too():
    text = report(Story().run(backend_truth=False, seed=None, scenario={}))
    assert "A live session: the backend was a real one." in words_of(text)
    assert "No messages in this run." in text


def test_a_report_that_cannot_be_written_is_one_clear_sentence(run: Run, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("hustle_sim.analysis.report.report", lambda run, other: "the page")
    save_report(tmp_path / "report.html", run)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "the page"
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


def test_the_same_run_makes_the_same_picture(run: Run):
    assert picture(run, "rush") == picture(run, "rush")


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
