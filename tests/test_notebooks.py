from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MOST_BYTES = 1_500_000


def kinds_of(cell: Any) -> list[str]:
    """The kinds of a cell's outputs, without what goes to stderr; text is one, in however many pieces it comes."""
    kinds = [output.output_type for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    return [*filter("stream".__ne__, kinds), *{"stream"}.intersection(kinds)]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(path, as_version=4)
    config = Config(KernelManager={"transport_encryption": "auto"})
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=900, resources=resources, config=config, coalesce_streams=True
    )
    stored = [kinds_of(cell) for cell in notebook.cells]
    client.execute()  # raises at the first error
    assert [kinds_of(cell) for cell in notebook.cells] == stored


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_small_and_of_no_machine(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not [output for output in outputs if "site-packages" in str(output.get("text", ""))]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
