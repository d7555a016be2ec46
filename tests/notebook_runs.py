"""
Runs the notebook of the examples in a fresh kernel. As a script it stores the outputs, which the test compares:

    python tests/notebook_runs.py
"""

from pathlib import Path

PATH = Path(__file__).resolve().parents[1] / "examples" / "c3_tour.ipynb"


def read_notebook():
    import nbformat

    return nbformat.read(PATH, as_version=4)


def run_notebook(folder):
    """
    The notebook with the outputs of a fresh run in a folder, without what libraries say on standard error: progress
    bars, and warnings with paths in them. Raises `CellExecutionError` if a cell fails.
    """
    from nbclient import NotebookClient

    notebook = read_notebook()
    options = {"timeout": None, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options).execute()
    for cell in code_cells(notebook):
        cell["outputs"] = [each for each in cell["outputs"] if each.get("name") != "stderr"]
    # Which Python ran it.
    notebook["metadata"]["language_info"] = {"name": "python"}
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    """What a cell printed, `str`."""
    return "".join(output["text"] for output in cell["outputs"] if output["output_type"] == "stream")


if __name__ == "__main__":
    import tempfile

    import nbformat

    with tempfile.TemporaryDirectory() as elsewhere:
        nbformat.write(run_notebook(elsewhere), PATH)
