#!/usr/bin/env bash
# Installs what building and testing need: Debian packages, a Python environment and LibTorch in .deps. Safe to run again.
#   deploy/setup.sh [--cuda] [--deploy]    --cuda: the full CUDA libraries even if no GPU is present now
#                                          --deploy: also Slurm, buildah, charliecloud, debootstrap, Chromium, for the long tests
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
deploy=0
for arg in "$@"; do
  case $arg in
    --cuda) export HAARFLOW_WITH_CUDA=1 ;;
    --deploy) deploy=1 ;;
    *) die "unknown option $arg; usage: deploy/setup.sh [--cuda] [--deploy]" ;;
  esac
done
set_up
[ $deploy = 0 ] || set_up_deploy
