#!/usr/bin/env bash
# Sets up, builds, runs the tests; ends with ctest's summary.
#   deploy/test.sh [--long] [--cuda]    --long: every test at full length (hours), the default fits two cores in an hour
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tier=(--label-exclude long)
for arg in "$@"; do
  case $arg in
    --long) tier=(); export HAARFLOW_LONG=1 ;;
    --cuda) export HAARFLOW_WITH_CUDA=1 ;;
    *) die "unknown option $arg; usage: deploy/test.sh [--long] [--cuda]" ;;
  esac
done
# One thread per process: two OpenMP threads on a loaded machine run convolutions many times slower than one.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
set_up
timed "Build" build_targets
say "Tests"
ctest --test-dir "$build" --output-on-failure -j "$(nproc)" "${tier[@]}"
