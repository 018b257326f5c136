"""Each notebook is a test: it runs from top to bottom, and says what its saved copy says."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import save
from nbclient.exceptions import CellExecutionError


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return NotebookFile.from_parent(parent, path=file_path) if file_path.suffix == ".ipynb" else None


class NotebookFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield NotebookTest.from_parent(self, name="runs_and_says_what_is_saved")


class Stale(Exception):  # noqa: N818 -- what is the matter
    """What is saved is not what comes out."""


class NotebookTest(pytest.Item):
    def runtest(self) -> None:
        saved = nbformat.read(self.path, as_version=4)
        fresh = save.run(self.path)
        for before, now in zip(saved.cells, fresh.cells, strict=True):
            if now.cell_type == "code" and not save.tagged(now, "real") and save.words(before) != save.words(now):
                raise Stale(
                    f"{self.path.name}: save it again (python notebooks/save.py {self.path.stem}): this cell\n\n"
                    f"{now.source}\n\nsays\n{save.words(now)}\nand was saved with\n{save.words(before)}"
                )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> object:
        if excinfo.errisinstance((CellExecutionError, Stale)):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.path.stem
