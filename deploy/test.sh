#!/usr/bin/env bash
# Sets up, builds, runs the tests; ends with ctest's summary.
#   deploy/test.sh [--long] [--cuda]
# The default tier takes minutes on two cores. --long: statistics at full length, and the sanitizer builds (AddressSanitizer and
# UndefinedBehaviorSanitizer of everything, ThreadSanitizer of core and of the server without gRPC) with the default tests;
# every fuzz target for 10 minutes under libFuzzer (needs clang).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
long=0
for arg in "$@"; do
  case $arg in
    --long) long=1 ;;
    --cuda) export HAARFLOW_WITH_CUDA=1 ;;
    *) die "unknown option $arg; usage: deploy/test.sh [--long] [--cuda]" ;;
  esac
done
# One thread per process: two OpenMP threads on a loaded machine run convolutions many times slower than one.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
set_up
# The long tier starts every deployment for real (a Slurm cluster, containers, Prometheus): more packages, and it wants root.
[ $long = 0 ] || set_up_deploy
timed "Build" build_targets
if [ $long = 1 ]; then
  for preset in asan-ubsan tsan; do
    say "Sanitizers: $preset"
    (cd "$root" && cmake --preset "$preset" >/dev/null && cmake --build "build/$preset" && ctest --preset "$preset" -j "$(nproc)")
  done
  say "Fuzzing, 10 minutes each"
  "$root/tests/fuzz/run.sh" 600
  export HAARFLOW_LONG=1
fi
say "Tests"
ctest --test-dir "$build" --output-on-failure -j "$(nproc)"
