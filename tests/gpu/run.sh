#!/bin/sh
# Builds the CUDA module, tests it on this machine's GPU and prints proposals per second of models: not yet measured on a GPU.
#
#   tests/gpu/run.sh [SPEC.txtpb ...]        default: deploy/specs/*.txtpb
#
# BUILD (default build/gpu) is the build folder, HAARFLOW_SKIP_BUILD=1 uses what is there. Fails where the machine has no GPU.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build/gpu}

if [ "${HAARFLOW_SKIP_BUILD:-0}" != 1 ]; then
  cmake -S . -B "$build" -G Ninja -DHAARFLOW_TORCH=OFF -DHAARFLOW_SERVICE=OFF -DHAARFLOW_BENCH=OFF -DHAARFLOW_CUDA=ON
  cmake --build "$build" --target haarflow_cuda bodies_test scalar_bodies_test loop_bodies_test cuda_module_test cuda_scalar_test cuda_loop_test \
    draw_rate
fi

if ! nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv; then
  echo "run.sh: nvidia-smi finds no GPU here" >&2
  exit 1
fi
build=$(cd "$build" && pwd)
export HAARFLOW_BIN_DIR="$build/bin"
"$build/bin/bodies_test" --gtest_brief=1
"$build/bin/scalar_bodies_test" --gtest_brief=1
"$build/bin/loop_bodies_test" --gtest_brief=1
"$build/bin/cuda_module_test" --gtest_brief=1
"$build/bin/cuda_scalar_test" --gtest_brief=1
"$build/bin/cuda_loop_test" --gtest_brief=1

# rate SPEC DEVICE CONFIGURATIONS
rate() { "$build/bin/draw_rate" "$1" "$2" "$3" 0.5; }

# Scalars: where states, transforms and kernels lie.
scalar_variants() {
  for setting in HAARFLOW_CUDA_REGISTERS=0 HAARFLOW_CUDA_SHARED_BYTES=0 HAARFLOW_CUDA_TABLE_BYTES=0 HAARFLOW_CUDA_BATCH=4096 HAARFLOW_CUDA_BATCH=65536; do
    echo "$setting"
    env "$setting" "$build/bin/draw_rate" "$1" cuda:0 16384 0.5
  done
}

# Loop flows: matrices in shared memory or not, and how many configurations are at work at one time.
loop_variants() {
  for setting in HAARFLOW_CUDA_SHARED_BYTES=0 HAARFLOW_CUDA_SHARED_BYTES=120000 HAARFLOW_CUDA_BATCH=128 HAARFLOW_CUDA_BATCH=256 HAARFLOW_CUDA_GRAPHS=0; do
    echo "$setting"
    env "$setting" "$build/bin/draw_rate" "$1" cuda:0 4096 0.5
  done
}

u1_variants() {
  echo "without graphs, and with other sub-batches:"
  HAARFLOW_CUDA_GRAPHS=0 rate "$1" cuda:0 1024
  for batch in 2048 4096 8192 65536; do
    echo "HAARFLOW_CUDA_BATCH=$batch"
    HAARFLOW_CUDA_BATCH=$batch rate "$1" cuda:0 65536
  done
}

# Extents that no model has, and the layouts that they take: registers up to 64x64, state in memory, everything in memory.
scalar_spec() {
  printf 'name: "scaling-%sx%s"\nspec_version: 1\ntarget { lattice { shape: [%s, %s] } phi4 { mass { m2: -1 lambda: 1.5 } } }\n' "$1" "$1" "$1" "$1"
  printf 'prior { free_field { m2: 1 learnable: true } }\n'
  printf 'layers { scalar_continuous_flow { frequencies: %s max_frequency: 3 time_modes: 4 } }\n' "$2"
}

[ $# -gt 0 ] || set -- deploy/specs/*.txtpb
for spec in "$@"; do
  if grep -q 'perfect\|spectral' "$spec"; then continue; fi # drawn by the CPU
  if grep -q sun_wilson "$spec"; then
    rate "$spec" cpu 16
    for n in 16 128 1024 4096; do rate "$spec" cuda:0 "$n"; done
    loop_variants "$spec"
    continue
  fi
  rate "$spec" cpu 1024
  for n in 128 1024 4096 16384 65536; do rate "$spec" cuda:0 "$n"; done
  if grep -q phi4 "$spec"; then scalar_variants "$spec"; else u1_variants "$spec"; fi
done

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
for extent in 4 8 16 32 64 128 256; do
  scalar_spec "$extent" 2 > "$temporary/spec.txtpb"
  rate "$temporary/spec.txtpb" cpu 16
  rate "$temporary/spec.txtpb" cuda:0 $((4194304 / extent / extent))
done
