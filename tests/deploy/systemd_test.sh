#!/usr/bin/env bash
# The units under a real systemd: the package of this build is installed into a Debian root, systemd-nspawn boots it, and a unit in there does what an
# administrator would: status, draw, a job, restart, stop. $HAARFLOW_DEBIAN_ROOT: a debootstrap root to start from.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
long_only
need systemd-nspawn debootstrap cpack unshare
[ "$(id -u)" -eq 0 ] || skip "systemd-nspawn wants root"
mirror=${HAARFLOW_DEBIAN_MIRROR:-http://deb.debian.org/debian}

say "a Debian root with systemd and the package"
root=$work/root
if [ -n "${HAARFLOW_DEBIAN_ROOT:-}" ]; then cp -a "$HAARFLOW_DEBIAN_ROOT" "$root"
else debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$work/debootstrap.log"; fi
cpack --config "$build_dir/CPackConfig.cmake" -B "$work/cpack" >"$work/cpack.log" 2>&1
cp "$work"/cpack/haarflow_*.deb "$root/tmp/"
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" sh -ec 'export DEBIAN_FRONTEND=noninteractive; apt-get update -qq
  apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus procps /tmp/haarflow_*.deb' >"$work/apt.log" 2>&1
run chroot "$root" systemctl --quiet enable haarflow-server haarflow-trainer

cat >"$root/usr/local/bin/check" <<'CHECK'
set -e
run() { echo "\$ $*"; "$@"; }
up() { for i in $(seq 200); do haarflow healthcheck >/dev/null 2>&1 && return; sleep 0.3; done; }
up
run systemctl --no-pager --lines=3 status haarflow-server haarflow-trainer
run ps -o user:12=,args= -C haarflow-server
run sh -c 'echo $(ls -ld /var/lib/private/haarflow/models | cut -c1-10) /var/lib/private/haarflow/models'
run haarflow --no-progress sample u1-l8-b2 -n 1000 --seed 1 --observables plaquette
run haarflow retune phi4-l6-e1 --set lambda=6.9 --ess 0.5 --budget 10 --watch | tail -n 3
run systemctl restart haarflow-server
up
run haarflow healthcheck --model phi4-6x6-m2-4-lambda6.9
run systemctl stop haarflow-trainer haarflow-server
run systemctl show --property=Result,ExecMainStatus haarflow-server haarflow-trainer
echo checked
CHECK
cat >"$root/etc/systemd/system/check.service" <<'UNIT'
[Unit]
After=haarflow-server.service haarflow-trainer.service
[Service]
Type=oneshot
StandardOutput=append:/check.log
StandardError=inherit
ExecStart=/bin/sh /usr/local/bin/check
ExecStopPost=/bin/systemctl --no-block exit
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl --quiet enable check

say "systemd-nspawn --boot"
# A host that was not booted by systemd has no hierarchy for it: made in a mount namespace of its own.
# shellcheck disable=SC2016
unshare --mount sh -ec '
  if [ ! -d /run/systemd/system ]; then
    mount -t tmpfs none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
  fi
  timeout 300 systemd-nspawn --quiet --register=no --keep-unit -D "$1" --machine=haarflow --console=pipe --boot systemd.show_status=no </dev/null' sh "$root" \
  >"$work/nspawn.log" 2>&1 || true
cat "$root/check.log"
tail -n 1 "$root/check.log" | grep -q '^checked$' || fail "not everything was checked"
[ "$(grep -c '^Result=success$' "$root/check.log")" -eq 2 ] || fail "a unit did not end with success"
echo "done"
