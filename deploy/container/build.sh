#!/bin/sh
# build.sh cpu|cuda SOURCE OUT: the Debian package, from the source, in a bare Debian 12. LibTorch is not needed: no installed program links it.
set -eu
variant=$1 source=$2 out=$3
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The same list as deploy/setup.sh.
packages=$(bash -c '. "$1/deploy/lib.sh"; echo "${build_packages[@]}"' bash "$source")
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $packages file >/dev/null
cuda=OFF
if [ "$variant" = cuda ]; then
  cuda=ON
  python3 -m venv /tmp/nvcc
  /tmp/nvcc/bin/pip install -q nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 \
    nvidia-cuda-cccl==13.0.85
  CUDA_HOME=$(echo /tmp/nvcc/lib/python3*/site-packages/nvidia/cu13)
  # The wheels have lib where nvcc looks for lib64.
  [ -e "$CUDA_HOME/lib64" ] || ln -s lib "$CUDA_HOME/lib64"
  export CUDA_HOME
fi
# A ccache that is mounted is used: paths are made relative to the source.
export CCACHE_BASEDIR="$source" CCACHE_NOHASHDIR=1
build=$source/build/container
cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DHAARFLOW_TORCH=OFF -DHAARFLOW_TESTS=OFF -DHAARFLOW_BENCH=OFF \
  -DHAARFLOW_CUDA=$cuda
cmake --build "$build" ${JOBS:+-j "$JOBS"}
mkdir -p "$out"
(cd "$build" && cpack -G DEB -B "$out")
rm -rf "$out/_CPack_Packages"
