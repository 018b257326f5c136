"""Run every notebook (or those named) and save what reads well without a kernel: text, tables and small pictures.

python notebooks/save.py [NAME...]

What a cell tagged ``interactive`` shows needs a kernel and is not saved; nor is any script.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
STATIC = ("image/png", "text/html", "text/plain")


def main(names: list[str]) -> None:
    """Run and save each notebook; ends with an error where a cell fails."""
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(HERE)}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                interactive = "interactive" in cell.metadata.get("tags", ())
                cell.outputs = [] if interactive else [kept for out in cell.outputs if (kept := static(out))]
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


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


if __name__ == "__main__":
    main(sys.argv[1:])
