"""Makes haarflow.v1, the messages and stubs of proto/haarflow/v1, when the package is built. The rest is in pyproject.toml."""

import importlib.metadata
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
SERVICES = {"admin", "sampler", "tuning"}
MESSAGES = SERVICES | {"model"}


def proto_root() -> Path:
    """The repository's schema, or the copy that a source distribution carries."""
    for root in (HERE.parent.parent / "proto", HERE / "proto"):
        if (root / "haarflow" / "v1" / "sampler.proto").is_file():
            return root
    raise SystemExit(f"the schema haarflow/v1/*.proto is neither in {HERE.parent.parent / 'proto'} nor in {HERE / 'proto'}: "
                     "build the package inside the repository, or from its source distribution")


def generate(destination: Path) -> None:
    from grpc_tools import protoc

    root = proto_root()
    package = destination / "haarflow" / "v1"
    package.mkdir(parents=True, exist_ok=True)
    for name in sorted(MESSAGES):
        arguments = ["protoc", f"-I{root}", f"--python_out={destination}", f"--pyi_out={destination}"]
        if name in SERVICES:
            arguments.append(f"--grpc_python_out={destination}")
        if protoc.main([*arguments, f"haarflow/v1/{name}.proto"]) != 0:
            raise SystemExit(f"protoc failed on {root}/haarflow/v1/{name}.proto")
    (package / "__init__.py").write_text('"""Messages and stubs of the wire schema, generated from proto/haarflow/v1."""\n')


class BuildWithStubs(build_py):
    def run(self) -> None:
        # An editable install imports from here.
        destination = HERE if getattr(self, "editable_mode", False) else Path(self.build_lib)
        generate(destination)
        self.packages = [name for name in self.packages if name != "haarflow.v1"]
        super().run()

    def get_source_files(self) -> list[str]:
        self.packages = [name for name in self.packages if name != "haarflow.v1"]
        return super().get_source_files()


class SdistWithSchema(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        target = Path(base_dir) / "proto" / "haarflow" / "v1"
        target.mkdir(parents=True, exist_ok=True)
        for name in sorted(MESSAGES):
            shutil.copy(proto_root() / "haarflow" / "v1" / f"{name}.proto", target)


def at_least(package: str) -> str:
    """Generated code runs with the runtime it was made for and with later ones."""
    return f"{package}>={importlib.metadata.version(package)}"


setup(
    cmdclass={"build_py": BuildWithStubs, "sdist": SdistWithSchema},
    install_requires=["numpy>=1.23", "google-crc32c>=1.5", at_least("grpcio"), at_least("protobuf")],
)
