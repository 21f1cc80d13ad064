#!/bin/sh
# Builds the CUDA module, tests it on this machine's GPU and prints proposals per second of a model: not yet measured on a GPU.
#
#   tests/gpu/run.sh [SPEC.txtpb ...]        default: deploy/models/specs/*.txtpb
#
# BUILD (default build/gpu) is the build folder, HAARFLOW_SKIP_BUILD=1 uses what is there. Fails where the machine has no GPU.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build/gpu}

if [ "${HAARFLOW_SKIP_BUILD:-0}" != 1 ]; then
  cmake -S . -B "$build" -G Ninja -DHAARFLOW_TORCH=OFF -DHAARFLOW_SERVICE=OFF -DHAARFLOW_BENCH=OFF -DHAARFLOW_CUDA=ON
  cmake --build "$build" --target haarflow_cuda bodies_test cuda_module_test draw_rate
fi

if ! nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv; then
  echo "run.sh: nvidia-smi finds no GPU here" >&2
  exit 1
fi
build=$(cd "$build" && pwd)
export HAARFLOW_BIN_DIR="$build/bin"
"$build/bin/bodies_test" --gtest_brief=1
"$build/bin/cuda_module_test"

[ $# -gt 0 ] || set -- deploy/models/specs/*.txtpb
for spec in "$@"; do
  "$build/bin/draw_rate" "$spec" cpu 1024
  for n in 128 1024 4096 16384 65536; do
    "$build/bin/draw_rate" "$spec" cuda:0 "$n"
  done
  echo "without graphs, and with other sub-batches:"
  HAARFLOW_CUDA_GRAPHS=0 "$build/bin/draw_rate" "$spec" cuda:0 1024
  for batch in 2048 4096 8192 65536; do
    echo "HAARFLOW_CUDA_BATCH=$batch"
    HAARFLOW_CUDA_BATCH=$batch "$build/bin/draw_rate" "$spec" cuda:0 65536
  done
done
