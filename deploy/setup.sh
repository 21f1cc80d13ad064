#!/usr/bin/env bash
# Installs what building and testing need: Debian packages, a Python environment and LibTorch in .deps. Safe to run again.
#   deploy/setup.sh [--cuda]    --cuda: the full CUDA libraries even if no GPU is present now
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for arg in "$@"; do
  case $arg in
    --cuda) export HAARFLOW_WITH_CUDA=1 ;;
    *) die "unknown option $arg; usage: deploy/setup.sh [--cuda]" ;;
  esac
done
set_up
