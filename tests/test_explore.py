"""``hs.explore(run)`` in the cell of a notebook, in a real kernel."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

import hustle_sim as hs

CELL = """
import hustle_sim as hs

run = hs.simulate(hs.Scenario.from_dict({"duration_s": "2h", "outages": [
    {"mode": "hang", "at_s": "30m", "lasts_s": "20m"}]}), seed=1)
hs.explore(run)
"""


def test_it_is_one_of_the_names_of_the_package():
    from hustle_sim.dashboard.story import explore

    assert hs.explore is explore
    assert "explore" in dir(hs)


@pytest.mark.real
def test_a_cell_shows_the_story_and_has_words_for_where_it_cannot_be_shown():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert [one for one in outputs if one.output_type in ("error", "stream")] == []
    (shown,) = [one for one in outputs if one.output_type == "execute_result"]
    assert "Story" in shown.data["text/plain"]
    assert "<div" in shown.data["text/html"]
    everything = "".join(str(text) for one in outputs for text in one.data.values())
    loaded = re.findall(r"\b(?:js|css)_(?:urls|modules) = (\[.*?\]);", everything)
    assert loaded
    assert [one for one in loaded if "://" in one] == []
