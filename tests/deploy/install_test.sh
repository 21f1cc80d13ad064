#!/usr/bin/env bash
# Installs into a prefix, moves it, and runs what is there as a user would: nothing of the build tree is needed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need cmake ldd

say "cmake --install"
cmake --install "$build_dir" --prefix "$work/first" >"$work/install.log"
first_unit="$work/first/lib/systemd/system/haarflow-server.service"
grep -q "^ExecStart=$work/first/bin/haarflow-server\$" "$first_unit" || fail "the unit does not name the installed server"

say "systemd unit"
if command -v systemd-analyze >/dev/null; then
  for unit in server trainer; do
    file="$work/first/lib/systemd/system/haarflow-$unit.service"
    # Man pages and the units of this host are not ours to check.
    problems=$(systemd-analyze verify --man=no "$file" 2>&1 | grep -F "haarflow-$unit.service" || true)
    [ -z "$problems" ] || fail "systemd-analyze verify: $problems"
    systemd-analyze security --offline=true --no-pager --threshold=15 "$file" >"$work/security-$unit.log" ||
      fail "the exposure of haarflow-$unit.service is above 1.5"
    tail -n 1 "$work/security-$unit.log"
  done
  # With the drop-in for a GPU.
  mkdir "$work/gpu" "$work/gpu/haarflow-server.service.d"
  cp "$first_unit" "$work/gpu/"
  cp "$source_dir/deploy/systemd/gpu.conf" "$work/gpu/haarflow-server.service.d/"
  problems=$(systemd-analyze verify --man=no "$work/gpu/haarflow-server.service" 2>&1 | grep -E "haarflow-server.service|gpu.conf" || true)
  [ -z "$problems" ] || fail "systemd-analyze verify with gpu.conf: $problems"
else
  echo "no systemd-analyze here: units not checked"
fi

say "the tree may be moved, and knows nothing of where it was built"
mv "$work/first" "$work/tree"
for program in haarflow haarflow-server haarflow-trainer; do
  libraries=$(env -i ldd "$work/tree/bin/$program")
  ! grep -E 'not found|libtorch|libc10' <<<"$libraries" || fail "$program: libraries"
  ! grep -F "$source_dir" <<<"$libraries" || fail "$program uses libraries of the source tree"
done
for file in share/haarflow/models/u1-l16-b2/index.json share/haarflow/specs/u1-l16-b2.txtpb share/haarflow/proto/haarflow/v1/sampler.proto \
  share/doc/haarflow/README.md share/doc/haarflow/server.md share/doc/haarflow/copyright; do
  [ -s "$work/tree/$file" ] || fail "$file is missing"
done

say "server, client and trainer of the installed tree"
PATH=$work/tree/bin:/usr/bin:/bin
cd "$work"
start_server installed --store "$work/tree/share/haarflow/models" --role sampler
HAARFLOW_SERVER=$(member "$work/installed.json" address)
export HAARFLOW_SERVER
run haarflow healthcheck --model u1-l8-b2
run haarflow sample u1-l8-b2 -n 2000 --seed 1 -o a.npy --observables plaquette
[ -s a.npy ] && [ -s a.json ] || fail "no configurations"
run haarflow-trainer check "$work/tree/share/haarflow/specs/u1-l8-b2.txtpb"
stop "$server_pid"
echo "done"
