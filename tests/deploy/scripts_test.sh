#!/usr/bin/env bash
# The scripts and recipes by themselves: they parse, shellcheck has nothing to say, the recipes agree with the scripts they run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$source_dir"
scripts=(deploy/*.sh deploy/slurm/*.sbatch deploy/slurm/common.sh tests/deploy/*.sh)
for script in "${scripts[@]}"; do bash -n "$script"; done
for script in deploy/container/*.sh; do sh -n "$script"; done
if command -v shellcheck >/dev/null; then
  # 1091, 2154, 2034: what is sourced stands in another file.
  shellcheck --severity=warning --exclude=SC1091,SC2154,SC2034 --shell=bash "${scripts[@]}"
  shellcheck --severity=warning deploy/container/*.sh
else
  echo "no shellcheck here: only parsed"
fi
# Batch scripts: a warning before the time limit, and back to the queue.
for script in deploy/slurm/*.sbatch; do
  for line in '^#SBATCH --signal=B:USR1@' '^#SBATCH --requeue$' '^#SBATCH --time='; do grep -q -- "$line" "$script" || fail "$script has no $line"; done
done
# The image: not root, exec form, our own health check, the scripts that are there.
recipe=deploy/container/Containerfile
for line in '^USER 10001:10001$' '^ENTRYPOINT \["haarflow-server"\]$' 'CMD \["haarflow", "healthcheck"\]$' '^STOPSIGNAL SIGTERM$'; do
  grep -q "$line" $recipe || fail "$recipe has no $line"
done
for script in $(grep -oh 'deploy/container/[a-z]*\.sh' $recipe deploy/container/haarflow.def | sort -u); do [ -e "$script" ] || fail "$script is not there"; done
version=$(sed -n 's/^project(haarflow VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
grep -q "^ARG VERSION=$version\$" $recipe || fail "$recipe is not of version $version"
grep -q "newTag: $version\$" deploy/kubernetes/base/kustomization.yaml || fail "deploy/kubernetes is not of version $version"
echo "done"
