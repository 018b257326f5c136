"""What stands in the saved notebooks reads well without a kernel. (That they run: notebooks/conftest.py.)"""

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_it_is_a_valid_notebook_that_asks_a_question_first(notebook):
    nbformat.validate(notebook)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert "**Question: " in first.source
    assert "?**" in first.source


def test_it_was_run_from_top_to_bottom_without_an_error(notebook):
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]


def test_it_shows_pictures_and_no_script(notebook):
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert "<script" not in str(outputs(notebook))
    assert not {kind for output in outputs(notebook) for kind in output.get("data", {}) if "javascript" in kind}


def test_what_needs_a_kernel_is_marked_and_not_saved(notebook):
    interactive = [cell for cell in notebook.cells if "interactive" in cell.metadata.get("tags", ())]
    assert all("pn." in cell.source and not cell.outputs for cell in interactive)
    others = [cell for cell in notebook.cells if cell.cell_type == "code" and cell not in interactive]
    assert not [cell for cell in others if "pn.extension" in cell.source]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_names_no_machine(path):
    assert path.stat().st_size < 600_000
    text = path.read_text(encoding="utf-8")
    assert "/work/" not in text
    assert "/home/" not in text


def test_a_step_leads_to_the_next(notebook):
    links = {word.split(")")[0] for cell in notebook.cells for word in cell.source.split("](")[1:]}
    names = {path.name for path in NOTEBOOKS}
    assert {link for link in links if link.endswith(".ipynb")} <= names
