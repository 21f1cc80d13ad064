"""The notebooks of examples/ run as they stand, against the real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT, Server

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyerrors")
    monkeypatch.setenv("HAARFLOW_SERVER", server.address)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}, record_timing=False).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("log Z = " in output.get("text", "") for output in outputs)


def test_the_readme_tells_the_truth(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HAARFLOW_SERVER", server.address)
    section = (ROOT / "README.md").read_text().split("\n## Python\n")[1]
    code, printed = section.split("```python\n")[1].split("\n```\n```\n")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == printed.split("```")[0].split()
