#!/usr/bin/env bash
# Makes the bundled models anew from their specs and publishes them as new versions. About three hours on two cores; most
# of it for 32x32, 8x64 and four dimensions.
#   deploy/make_models.sh [STORE] [MODEL...]    STORE: deploy/models when absent; MODEL: all when absent
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
store=${1:-"$root/deploy/models"}
shift || true
set_up
timed "Build" build_targets haarflow-trainer
# In this order: each starts from the weights of one before it.
all=(u1-l8-b2 u1-l16-b2 u1-l16-b1 u1-l16-b4 u1-l16-b3 u1-l16-b5 u1-l16-b6 u1-l16-perfect su2-l16-perfect su3-l16-perfect
  su2-l16-b1.8 su2-l16-b2.2 su2-l16-b2.7 su3-l16-b4 su3-l16-b5 su3-l16-b6 su3-4x4x4x4-b1 su3-4x4x4x4-b2 su3-4x4x4x4-b3
  su3-8x8x8x8-b1
  su3-l8-b2-leading su3-4x4x4x4-b1-leading
  su2-matrix-b9 su3-matrix-b9 su2-l8-b2.2-spectral su2-l16-b2.2-spectral su2-l16-b1.8-spectral su2-l16-b2.7-spectral
  su3-l8-b5-spectral su3-l16-b5-spectral
  phi4-l6-e1 phi4-l8-tutorial phi4-l8-e2 phi4-l10-e3 phi4-l12-e4 phi4-l14-e5 phi4-l16 phi4-l32
  phi4-l8-lambda phi4-8x8-kappa phi4-8x16-kappa phi4-8x64-kappa)
[ $# -gt 0 ] || set -- "${all[@]}"
for spec in "$@"; do
  timed "$spec" "$build/bin/haarflow-trainer" train "$root/deploy/specs/$spec.txtpb" --store "$store"
done
