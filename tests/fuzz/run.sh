#!/usr/bin/env bash
# Builds every fuzz target with clang and libFuzzer and runs each for SECONDS (30), from corpus/NAME. Ends with an error at the first
# finding, which lies in build/fuzz/findings.
#   tests/fuzz/run.sh [SECONDS] [TARGET...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
seconds=${1:-30}
shift || true
build=$root/build/fuzz
CC=clang CXX=clang++ cmake -S "$root" -B "$build" -G Ninja -DHAARFLOW_FUZZ=ON -DHAARFLOW_SERVICE=OFF -DHAARFLOW_SERVER_PARTS=ON -DHAARFLOW_TORCH=OFF \
  -DHAARFLOW_CUDA=OFF -DHAARFLOW_BENCH=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DHAARFLOW_SANITIZE=address,undefined,fuzzer-no-link >/dev/null
if [ $# = 0 ]; then
  for source in "$root"/tests/fuzz/*_fuzz.cc; do set -- "$@" "$(basename "$source" _fuzz.cc)"; done
fi
cmake --build "$build" --target "${@/%/_fuzz}"
for name in "$@"; do
  mkdir -p "$build/corpus/$name" "$build/findings"
  echo "== $name, $seconds s"
  seeds=()
  [ ! -d "$root/tests/fuzz/corpus/$name" ] || seeds+=("$root/tests/fuzz/corpus/$name")
  [ "$name" != spec ] || seeds+=("$root/deploy/specs")
  "$build/bin/${name}_fuzz" "$build/corpus/$name" "${seeds[@]}" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 \
    -artifact_prefix="$build/findings/$name-" -print_final_stats=1 2>&1 | tail -n 12
done
