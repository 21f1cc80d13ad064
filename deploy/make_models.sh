#!/usr/bin/env bash
# Makes the bundled models anew from their specs and publishes them as new versions. About a quarter of an hour on two cores.
#   deploy/make_models.sh [STORE]    STORE: deploy/models when absent
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
store=${1:-"$root/deploy/models"}
set_up
timed "Build" build_targets haarflow-trainer
for spec in u1-l8-b2 u1-l16-b2; do
  timed "$spec" "$build/bin/haarflow-trainer" train "$root/deploy/specs/$spec.txtpb" --store "$store"
done
