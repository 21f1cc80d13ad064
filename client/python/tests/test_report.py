"""Files and reports: what `haarflow sample` wrote is read back, good runs are called good, and bad ones are not."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import haarflow
from haarflow import __main__ as command
from haarflow import files, report

from conftest import BIN, Server

pytest.importorskip("h5py")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def drawn(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "u1.h5"
    subprocess.run([BIN / "haarflow", "--server", server.address, "sample", "u1-l8-b2", "-n", "4000", "--seed", "1", "-o", path, "--observables",
                    "plaquette,charge_squared,charge"], check=True, capture_output=True)
    return path


def test_a_file_is_the_batch_that_was_streamed(client: haarflow.Client, drawn: Path) -> None:
    read = files.read(drawn)
    streamed = client.sample("u1-l8-b2", 4000, seed=1, observables=["plaquette", "charge_squared", "charge"]).collect()
    assert read.run.observables == streamed.run.observables and read.statistics == streamed.statistics
    assert read.fields is not None and streamed.fields is not None
    for name in ("fields", "index", "multiplicity", "log_weight", "log_q", "action"):
        np.testing.assert_array_equal(getattr(read, name), getattr(streamed, name))
    for name in read.observables:
        np.testing.assert_array_equal(read.observables[name], streamed.observables[name])
    more = client.sample(resume=read, count=100).collect()
    np.testing.assert_array_equal(haarflow.concatenate([read, more]).chain("charge"),
                                  client.sample("u1-l8-b2", 4100, seed=1, observables=["charge"], fields=False).collect().chain("charge"))


def draw(server: Server, *arguments: str | Path) -> None:
    subprocess.run([BIN / "haarflow", "--server", server.address, "sample", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(("model", "count", "names"), [("u1-l8-b2", "3000", ["f.npy"]), ("su3-4x4x4x4-b1-leading", "12", ["f.npy", "f.lime", "f.nersc"]),
                                                       ("su3-4x4x4x4-b1-leading", "1", ["f.lime", "f.nersc"])])
def test_every_format_is_the_same_run(server: Server, tmp_path: Path, model: str, count: str, names: list[str]) -> None:
    options = [model, "-n", count, "--seed", "4", "--burn-in", "3"]
    draw(server, *options, "-o", tmp_path / "f.h5")
    first = files.read(tmp_path / "f.h5")
    for name in names:
        draw(server, *options, "-o", tmp_path / name)
        other = files.read(tmp_path / name)
        assert other.run == first.run and other.statistics == first.statistics and other.token == first.token
        assert first.fields is not None and other.fields is not None and first.fields.dtype == other.fields.dtype
        for column in ("fields", "index", "multiplicity", "log_weight", "log_q", "action"):
            np.testing.assert_array_equal(getattr(first, column), getattr(other, column), name)
        for column, values in first.observables.items():
            np.testing.assert_array_equal(values, other.observables[column], name)
        assert files.read(tmp_path / name, fields=False).fields is None
        if int(count) > 1:
            assert files.attribute(tmp_path / name, "created").endswith("Z")
        if int(count) >= 100:
            assert report.of_file(tmp_path / name).verdict.level == "good"


def test_two_rows_are_made_three(server: Server, tmp_path: Path) -> None:
    for name, rows in (("three.nersc", "3"), ("two.nersc", "2")):
        draw(server, "su3-4x4x4x4-b1-leading", "-n", "3", "--seed", "4", "-o", tmp_path / name, "--nersc-rows", rows)
    three, two = (files.read(tmp_path / name) for name in ("three.nersc", "two.nersc"))
    assert three.fields is not None and two.fields is not None
    np.testing.assert_allclose(two.fields, three.fields, rtol=0, atol=1e-14)


def test_altered_files_are_refused(server: Server, tmp_path: Path) -> None:
    draw(server, "u1-l8-b2", "-n", "20", "--seed", "1", "-o", tmp_path / "u.npy")
    draw(server, "su3-4x4x4x4-b1-leading", "-n", "4", "--seed", "1", "-o", tmp_path / "s.lime")
    draw(server, "su3-4x4x4x4-b1-leading", "-n", "4", "--seed", "1", "-o", tmp_path / "s.nersc")
    one = sorted(tmp_path.glob("s.0*.lime"))[0]
    with pytest.raises(haarflow.HaarflowError, match="one configuration of a run"):
        files.read(one)

    def flip(path: Path, at: int) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    nersc = sorted(tmp_path.glob("s.0*.nersc"))[0]
    for path, at in ((tmp_path / "u.npy", -9), (one, one.read_bytes().index(b"ildg-binary-data") + 5000), (nersc, -9)):
        original = path.read_bytes()
        flip(path, at)
        name = tmp_path / f"{path.name[0]}{path.suffix}"
        with pytest.raises(haarflow.CorruptData, match="SHA-256|CHECKSUM"):
            files.read(name)
        files.read(name, fields=False)  # its weights are as they were
        path.write_bytes(original)
    described = json.loads((tmp_path / "u.json").read_text())
    for change, words in (({"seed": 2}, "says seed 2"), ({"header_message": "ff"}, "damaged"), ({"statistics_message": 7}, "not what it should be"),
                          ({"sha256": None}, "not what it should be"), ({"foreign": True}, "another program")):
        (tmp_path / "u.json").write_text(json.dumps({**described, **change}))
        with pytest.raises(haarflow.HaarflowError, match=words):
            files.read(tmp_path / "u.npy")
    (tmp_path / "u.json").write_text("[1")
    with pytest.raises(haarflow.CorruptData, match="no JSON"):
        files.read(tmp_path / "u.npy")
    (tmp_path / "s.lime.json").write_text(json.dumps({**json.loads((tmp_path / "s.lime.json").read_text()), "index": ["../../x"]}))
    with pytest.raises(haarflow.CorruptData, match="no list index"):
        files.read(tmp_path / "s.lime")
    one.write_bytes(one.read_bytes()[:300])
    with pytest.raises(haarflow.HaarflowError, match="damaged or cut|another program"):
        files.read(one)


def test_files_that_are_none_are_refused_in_words(drawn: Path, tmp_path: Path) -> None:
    import h5py

    with pytest.raises(haarflow.HaarflowError, match="does not exist"):
        files.read(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(haarflow.HaarflowError, match="is no HDF5 file"):
        files.read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(haarflow.HaarflowError, match="holds no haarflow configurations"):
        files.read(tmp_path / "other.h5")
    damages = {"the column index|has not": lambda f: f.__delitem__("index"), "log_q is missing": lambda f: f.__delitem__("log_q"),
               "header_message is missing": lambda f: f.attrs.__delitem__("header_message"),
               "header_message is damaged": lambda f: f.attrs.__setitem__("header_message", np.void(b"\xff" * 40)),
               "do not ascend": lambda f: f["index"].__setitem__(1, 0), "fields have the shape": lambda f: f["links"].resize(5, axis=0),
               "format version 2": lambda f: f.attrs.__setitem__("format_version", 2)}
    for number, (words, damage) in enumerate(damages.items()):
        copy = tmp_path / f"{number}.h5"
        copy.write_bytes(drawn.read_bytes())
        with h5py.File(copy, "r+") as file:
            damage(file)
        with pytest.raises(haarflow.HaarflowError, match=words):
            files.read(copy)


def test_a_sound_run_is_called_sound(drawn: Path, tmp_path: Path) -> None:
    made = report.of_file(drawn)
    assert made.verdict.level == "good", made.verdict
    assert made.verdict.headline.startswith("Sound") and 3000 < made.verdict.independent <= 4000
    assert [o.name for o in made.observables] == ["plaquette", "charge_squared", "charge"]
    for o in made.observables:
        assert o.estimate.exact is not None and o.histogram.distribution is not None and o.histogram.degrees >= 2
        assert o.histogram.probability.sum() == pytest.approx(1) and np.all(o.histogram.error[o.histogram.probability > 0.05] > 0)
    assert made.weights.log_z.pull is not None
    for density in (made.weights.proposals, made.weights.target):
        assert np.sum(density * np.diff(made.weights.edges)) == pytest.approx(1, abs=0.01)
    # The mean of w over q is Z: the two densities differ by the factor w.
    middle = (made.weights.edges[1:] + made.weights.edges[:-1]) / 2
    busy = made.weights.proposals > 0.3 * made.weights.proposals.max()
    np.testing.assert_allclose(made.weights.target[busy] / made.weights.proposals[busy], np.exp(middle[busy]), rtol=0.03)
    written = made.write(tmp_path / "page.html", png_directory=tmp_path / "png")
    assert [Path(path).name for path in written] == ["page.html", "plaquette.png", "charge_squared.png", "charge.png", "weights.png"]
    assert (tmp_path / "png" / "charge.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "page.html").read_text()
    assert made.verdict.headline in page and page.count("<img ") == 4
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?://", page), "the page wants something from elsewhere"


def test_the_page_replaces_reports_alone(drawn: Path, tmp_path: Path) -> None:
    batch = files.read(drawn, fields=False)
    made = report.of_batch(dataclasses.replace(batch, run=dataclasses.replace(batch.run, observables=("charge",)),
                                               observables={"charge": batch.observables["charge"]}), "one")
    precious = tmp_path / "precious.html"
    precious.write_text("<p>mine</p>")
    with pytest.raises(haarflow.HaarflowError, match="is no report"):
        made.write(precious)
    assert precious.read_text() == "<p>mine</p>"
    made.write(tmp_path / "page.html")
    made.write(tmp_path / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".html") == ["page.html", "precious.html"]


def shifted(batch: haarflow.Batch, name: str, values: np.ndarray) -> haarflow.Batch:
    return dataclasses.replace(batch, observables={**batch.observables, name: values})


def findings(made: report.Report, level: str) -> str:
    return " ".join(finding.text for finding in made.verdict.findings if finding.level == level)


def test_wrong_runs_are_called_wrong(drawn: Path) -> None:
    batch = files.read(drawn, fields=False)
    plaquette = batch.observables["plaquette"]
    sigma = batch.mean("plaquette").error
    # A mean that is off; a distribution that is too narrow about the right mean; a run that drifts.
    off = report.of_batch(shifted(batch, "plaquette", plaquette + 8 * sigma), "off")
    assert off.verdict.level == "failure" and "Means contradict the exact values" in findings(off, "failure")
    exact = off.observables[0].estimate.exact
    assert exact is not None
    narrow = report.of_batch(shifted(batch, "plaquette", exact + 0.8 * (plaquette - exact)), "narrow")
    assert "Distributions do not follow the exact curves" in findings(narrow, "failure") and "contradict" not in findings(narrow, "failure")
    slope = np.linspace(-30, 30, len(batch)) * sigma
    drifting = report.of_batch(shifted(batch, "plaquette", plaquette + slope), "drifting")
    assert "plaquette drifts" in findings(drifting, "failure")
    unreliable = dataclasses.replace(batch, statistics=dataclasses.replace(batch.statistics, reliable=False, unreliable_reason="a mode is missed",
                                                                           max_weight_share=0.2))
    made = report.of_batch(unreliable, "unreliable")
    assert made.verdict.headline == "Do not rely on it." and "a mode is missed" in findings(made, "failure")
    stuck = dataclasses.replace(batch, statistics=dataclasses.replace(batch.statistics, longest_rejection_run=900))
    assert "stood still for 900 of 4,000" in findings(report.of_batch(stuck, "stuck"), "warning")


def test_few_samples_are_no_scandal(client: haarflow.Client) -> None:
    made = report.of_model(client, "u1-l8-b2", 400, seed=1)
    assert made.verdict.level == "warning" and "Too little was drawn" in findings(made, "warning")
    with pytest.raises(haarflow.HaarflowError, match="50 steps say nothing"):
        report.of_model(client, "u1-l8-b2", 50, seed=1)


@pytest.mark.parametrize(("model", "mode"), [("su3-matrix-b9", "reweighted"), ("phi4-l6-e1", "metropolis"), ("u1-l16-perfect", "metropolis")])
def test_reports_of_models(client: haarflow.Client, tmp_path: Path, model: str, mode: str) -> None:
    made = report.of_model(client, model, 2000, seed=6, mode=mode)
    assert made.verdict.level == "good", made.verdict
    if mode == "reweighted":  # METROPOLIS pages are written elsewhere
        made.write(tmp_path / "page.html")
    assert all(0 <= o.histogram.p_value <= 1 or np.isnan(o.histogram.p_value) for o in made.observables)


def test_p_values_are_uniform_where_the_curve_is_right() -> None:
    from haarflow.report.analysis import chi_squared_probability

    generator = np.random.default_rng(5)
    for degrees in (3, 10, 30):
        p = [chi_squared_probability(x, degrees) for x in generator.chisquare(degrees, 20_000)]
        assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.006) and np.mean(p) == pytest.approx(0.5, abs=0.012)


# ------------------------------------------------------------------------------------------------------- the command


def test_the_command_speaks_json_and_exit_codes(drawn: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["report", str(drawn), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "good" and document["files"] == ["u1.html"] and document["observables"][0]["observable"] == "plaquette"
    assert command.main(["report", "u1-l8-b2", "--server", server.address, "-n", "1500", "--set", "beta=1.9", "--seed", "3", "-o", "b.html",
                         "--observables", "plaquette"]) == 0
    assert "beta = 1.9" in (tmp_path / "b.html").read_text() and "written     b.html" in capsys.readouterr().out
    cases = {("absent.h5",): 6, ("a.npy",): 6, ("nope", "--server", server.address): 4, ("u1-l8-b2", "--server", "127.0.0.1:1"): 3,
             ("u1-l8-b2", "--server", "nowhere"): 2}
    for arguments, code in cases.items():
        assert command.main(["report", *arguments]) == code, arguments
        assert capsys.readouterr().err.startswith("haarflow: ")
    with pytest.raises(SystemExit) as ended:
        command.main(["report", "u1-l8-b2", "--set", "beta"])
    assert ended.value.code == 2


def haarflow_binary(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "haarflow", *arguments], cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_binary_hands_over(server: Server, tmp_path: Path) -> None:
    # A folder of the package's name, as a clone of the repository is, is no package.
    (tmp_path / "haarflow").mkdir()
    done = haarflow_binary(tmp_path, "--server", server.address, "report", "u1-l8-b2", "-n", "1500", "-o", "a.html", "--seed", "1", "--observables",
                           "plaquette", HAARFLOW_PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.html").exists()
    # Before the package is installed.
    help_text = haarflow_binary(tmp_path, "report", "--help", HAARFLOW_PYTHON="/bin/false", PATH="/usr/bin:/bin")
    assert help_text.returncode == 0 and "FILE|MODEL" in help_text.stdout
    ours = {option for action in command._parser()._subparsers._group_actions[0].choices["report"]._actions  # type: ignore[union-attr]
            for option in action.option_strings}
    assert ours == set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*(?![\w-])", help_text.stdout)) - {"-m"}
    absent = haarflow_binary(tmp_path, "--json", "report", "absent.h5", HAARFLOW_PYTHON=sys.executable)
    assert absent.returncode == 6 and json.loads(absent.stdout)["error"]["message"] == "absent.h5 does not exist"


def test_the_binary_says_what_is_missing(drawn: Path, tmp_path: Path) -> None:
    for python in ("/bin/false", str(tmp_path / "absent")):
        done = haarflow_binary(tmp_path, "report", str(drawn), HAARFLOW_PYTHON=python)
        assert done.returncode == 6 and done.stdout == ""
        assert "Python package haarflow" in done.stderr and "pip install" in done.stderr and "$HAARFLOW_PYTHON" in done.stderr
    script = tmp_path / "bin" / "haarflow-py"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "script: $*"\n')
    script.chmod(0o755)
    done = haarflow_binary(tmp_path, "--server", "unix:/x", "--tls", "report", "f.h5", "--png", "d", PATH=f"{script.parent}:/usr/bin:/bin")
    assert done.stdout == "script: report --server unix:/x --tls f.h5 --png d\n"


@pytest.mark.skipif("HAARFLOW_LONG" not in os.environ, reason="the long tier")
@pytest.mark.parametrize("mode", ["metropolis", "reweighted"])
def test_honest_runs_are_rarely_doubted(client: haarflow.Client, mode: haarflow.records.Mode) -> None:
    # Weights that matter: an ESS of a third.
    p_values, doubts = [], 0
    for seed in range(100, 170):
        batch = client.sample("u1-l8-b2", 6000, seed=seed, mode=mode, parameters={"beta": 1.7}, observables=["charge_squared", "charge"],
                              fields=False).collect()
        made = report.of_batch(batch, "honest")
        p_values += [o.histogram.p_value for o in made.observables]
        doubts += any("follow" in f.text or "agree" in f.text or "drift" in f.text for f in made.verdict.findings if f.level != "good")
    assert doubts <= 2 and min(p_values) > 1e-4 and np.mean(np.array(p_values) < 0.05) < 0.1
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.12)
