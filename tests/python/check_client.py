"""Builds the wheel of client/python as `pip wheel` does, installs it by itself, and runs its tests against the real binaries.

check_client.py SOURCE_DIRECTORY BINARY_DIRECTORY WORK_DIRECTORY
"""
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input", *arguments], check=True)


def build(source, work):
    """The wheel, from a copy: the source tree stays clean."""
    shutil.rmtree(work, ignore_errors=True)
    for part in ("proto", "client/python"):
        shutil.copytree(source / part, work / "source" / part,
                        ignore=shutil.ignore_patterns("__pycache__", "v1" if part != "proto" else "", "build", "*.egg-info"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(work / "wheel"), str(work / "source" / "client" / "python"))
    (wheel,) = (work / "wheel").glob("haarflow-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"haarflow/py.typed", "haarflow/v1/sampler_pb2.py", "haarflow/v1/sampler_pb2.pyi", "haarflow/v1/sampler_pb2_grpc.py", "haarflow/v1/admin_pb2_grpc.py",
              "haarflow/v1/tuning_pb2_grpc.py", "haarflow/report/page.py"}
    if wanted - names:
        sys.exit(f"FAILED: {wheel.name} lacks {sorted(wanted - names)}")
    if stray := [name for name in names if name.startswith(("tests/", "examples/"))]:
        sys.exit(f"FAILED: {wheel.name} holds {stray}")
    pip("install", "--no-deps", "--no-compile", "--target", str(work / "site"), str(wheel))


def main(source, binaries, work):
    build(source, work)
    package = work / "source" / "client" / "python"
    (package / "haarflow").rename(package / "not-this-one")  # tests import what was installed
    environment = {**os.environ, "PYTHONPATH": str(work / "site"), "HAARFLOW_BIN_DIR": str(binaries), "HAARFLOW_SOURCE_DIR": str(source),
                   "PATH": f"{work / 'site' / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if "HAARFLOW_LONG" in os.environ:
        subprocess.run([sys.executable, "-m", "mypy", "--config-file", str(package / "pyproject.toml"), str(work / "site" / "haarflow")],
                       check=True, env=environment)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", str(package / "tests")]
    sys.exit(subprocess.run(tests, check=False, env=environment, cwd=package).returncode)


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:]))
