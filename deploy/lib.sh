# Shared by the scripts of this folder: set-up and build, each step said and timed. Source it from bash with `set -euo pipefail`.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps="$root/.deps"
build="$root/build/release"
# Let another clone of the same sources use what ccache already has.
export CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# timed NAME COMMAND...: runs it, says how long it took.
timed() {
  local name=$1 start=$SECONDS
  shift
  say "$name"
  "$@"
  printf '   %s: %d s\n' "$name" $((SECONDS - start)) >&2
}

build_packages=(build-essential cmake ninja-build ccache pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler
  protobuf-compiler-grpc libabsl-dev prometheus-cpp-dev libcurl4-openssl-dev libgtest-dev libgmock-dev libbenchmark-dev libhdf5-dev
  libcli11-dev libopenmpi-dev librandom123-dev libsqlite3-dev libssl-dev nlohmann-json3-dev openmpi-bin python3 python3-venv)

# What the long tier of tests/deploy starts for real.
deploy_packages=(buildah charliecloud chromium debootstrap munge openssl shellcheck slurm-wlm systemd-container)

# install_packages PACKAGE...
install_packages() {
  local missing=()
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get: ${missing[*]}"
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "installing packages needs root or sudo; missing: ${missing[*]}"
    sudo=(sudo)
  fi
  echo "   installing ${missing[*]}" >&2
  "${sudo[@]}" apt-get update -qq || die "apt-get update failed: are Debian's package servers reachable?"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# A virtual environment for pip, for the tests that open results in Python, and for building and testing client/python.
python_packages=(numpy h5py safetensors setuptools wheel grpcio-tools google-crc32c matplotlib pytest pyerrors nbclient ipykernel mypy)

install_python() {
  # Made again when the list has changed.
  [ "$(cat "$deps/venv/.complete" 2>/dev/null)" = "${python_packages[*]}" ] && return 0
  rm -rf "$deps/venv"
  python3 -m venv "$deps/venv" || die "python3 -m venv failed: is python3-venv installed?"
  "$deps/venv/bin/pip" install -q "${python_packages[@]}" || die "pip could not install ${python_packages[*]}: is PyPI reachable?"
  echo "${python_packages[*]}" >"$deps/venv/.complete"
}

# What the default tests of deploy/ need: a reader of YAML, promtool. Prometheus is unpacked beside: installed as a package it would start a service.
install_deploy_tools() {
  "$deps/venv/bin/python" -c 'import yaml' 2>/dev/null || "$deps/venv/bin/pip" install -q pyyaml || die "pip could not install pyyaml: is PyPI reachable?"
  [ -e "$deps/prometheus/.complete" ] && return 0
  command -v apt-get >/dev/null || { echo "   no apt-get: tests of deploy/prometheus will be skipped" >&2; return 0; }
  rm -rf "$deps/prometheus"
  mkdir -p "$deps/prometheus"
  (cd "$deps/prometheus" && apt-get -qq -o APT::Sandbox::User=root download prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb && touch .complete) ||
    echo "   prometheus could not be fetched: tests of deploy/prometheus will be skipped" >&2
}

# LibTorch 2.11 from the torch wheel. The CPU part needs three wheels (550 MB); a GPU needs all of the wheel's dependencies.
install_torch() {
  local kind=cpu
  if [ "${HAARFLOW_WITH_CUDA:-0}" = 1 ] || { command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; }; then kind=cuda; fi
  [ -e "$deps/libtorch/.complete-$kind" ] && return 0
  echo "   fetching LibTorch 2.11 ($kind)" >&2
  rm -rf "$deps/libtorch"
  local pip=("$deps/venv/bin/pip" install -q --target "$deps/libtorch")
  if [ $kind = cuda ]; then
    "${pip[@]}" torch==2.11.0 || die "pip could not fetch torch 2.11.0 with its CUDA libraries: is PyPI reachable, is there 8 GB of disk?"
  else
    "${pip[@]}" --no-deps torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 ||
      die "pip could not fetch torch 2.11.0: is PyPI reachable, is there 3 GB of disk?"
  fi
  touch "$deps/libtorch/.complete-$kind"
}

set_up() {
  mkdir -p "$deps"
  timed "Debian packages" install_packages "${build_packages[@]}"
  timed "Python environment (.deps/venv)" install_python
  timed "Tools for deployments (.deps/prometheus)" install_deploy_tools
  timed "LibTorch (.deps/libtorch)" install_torch
}

# For the long tier of tests/deploy: clusters, containers, schemas.
set_up_deploy() {
  timed "Debian packages of deployments" install_packages "${deploy_packages[@]}"
  "$deps/venv/bin/python" -c 'import kubernetes_validate' 2>/dev/null || "$deps/venv/bin/pip" install -q kubernetes-validate==1.37.0 ||
    echo "   kubernetes-validate could not be fetched: manifests are checked by our own rules alone" >&2
}

# build_targets [TARGET...]: Release; everything without arguments.
build_targets() {
  (cd "$root" && cmake --preset release >"$root/.deps/configure.log" 2>&1) ||
    { tail -n 20 "$root/.deps/configure.log" >&2; die "CMake could not configure; the whole log is .deps/configure.log"; }
  cmake --build "$build" ${1:+--target "$@"}
}
