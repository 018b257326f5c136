"""Run every notebook (or those named) and save what reads well without a kernel: text, tables and small pictures.

python notebooks/save.py [NAME...]

What a cell tagged ``interactive`` shows needs a kernel and is not saved; nor is any script. A cell tagged ``real`` shows
what a real clock measured, which is a little different each time.
"""

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

HERE = Path(__file__).parent
STATIC = ("image/png", "text/html", "text/plain")


def main(names: list[str]) -> None:
    """Run and save each notebook; ends with an error where a cell fails."""
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        notebook = run(path)
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook with this very Python and this very checkout, and return it with what is to be saved."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # Without any folder of kernels, "python3" is the interpreter that asks, whatever is installed beside it.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        # Nor does it matter what starts with a person's own IPython.
        places = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "IPYTHONDIR": scratch, "TMPDIR": scratch}
        client = NotebookClient(
            notebook, km=kernel, timeout=600, startup_timeout=180, resources={"metadata": {"path": str(HERE)}}
        )
        client.execute(env=env, cleanup_kc=True)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = (
                [] if tagged(cell, "interactive") else [kept for out in cell.outputs if (kept := static(out))]
            )
    return notebook


def tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    """Whether a cell has a tag."""
    return tag in cell.metadata.get("tags", ())


def static(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The output without scripts, warnings and empty representations; None if nothing is left."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    data = {kind: value for kind, value in output.get("data", {}).items() if kind in STATIC and "<script" not in value}
    if "image/png" in data:
        data = {"image/png": data["image/png"], "text/plain": "a figure"}
    if not set(data) - {"text/plain"} and data.get("text/plain", "").startswith(("<", ":")):
        return None
    output.data = nbformat.from_dict(data)
    output.metadata = nbformat.NotebookNode()
    return output if data else None


def words(cell: nbformat.NotebookNode) -> str:
    """What a code cell shows as text and tables, without the markup, which is another with another pandas."""
    said = []
    for output in cell.outputs:
        data = output.get("data", {})
        said.append(output.get("text") or data.get("text/html") or data.get("text/plain", ""))
    return " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", " ".join(said), flags=re.DOTALL).split())


if __name__ == "__main__":
    main(sys.argv[1:])
