#!/usr/bin/env bash
# The image, built for real: Containerfile by buildah (chroot isolation) from a debootstrap root, with the package of this build; then run
# by charliecloud: read-only root, no privilege, another user. $HAARFLOW_DEBIAN_ROOT: a debootstrap root to take instead of making one.
# HAARFLOW_BUILD_STAGE=1: compile in the build stage too, instead of taking this tree's package (an hour on two cores without a ccache).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
long_only
need buildah ch-run debootstrap cpack
[ "$(id -u)" -eq 0 ] || skip "debootstrap wants root"
mirror=${HAARFLOW_DEBIAN_MIRROR:-http://deb.debian.org/debian}

say "a bare Debian 12"
base=${HAARFLOW_DEBIAN_ROOT:-$work/base}
[ -n "${HAARFLOW_DEBIAN_ROOT:-}" ] || debootstrap --variant=minbase --include=ca-certificates bookworm "$base" "$mirror" >"$work/debootstrap.log"
du -sh "$base" | sed 's|\t.*||'

say "the Debian package"
mkdir -p "$work/context/dist" "$work/context/deploy/container"
context=$source_dir package=build
if [ -z "${HAARFLOW_BUILD_STAGE:-}" ]; then
  package=prebuilt context=$work/context
  cpack --config "$build_dir/CPackConfig.cmake" -B "$work/cpack" >"$work/cpack.log"
  cp "$work"/cpack/haarflow_*.deb "$work/context/dist/"
  cp "$source_dir"/deploy/container/* "$work/context/deploy/container/"
  dpkg-deb -I "$work"/context/dist/haarflow_*.deb | grep -E '^ (Package|Version|Depends|Installed)' | fold -sw 140
fi

say "buildah bud --isolation chroot"
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/runroot")
at_end+=("buildah ${store[*]} rm --all >/dev/null 2>&1")
tar -C "$base" -cf "$work/base.tar" .
container=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" add --quiet "$container" "$work/base.tar" / >/dev/null
buildah "${store[@]}" commit --quiet --rm "$container" localhost/debian >/dev/null
rm "$work/base.tar"
recipe=(--isolation chroot --format docker --build-arg BASE=localhost/debian --build-arg PACKAGE="$package"
  -f "$source_dir/deploy/container/Containerfile" -t localhost/haarflow "$context")
echo "$ buildah bud ${recipe[*]}"
buildah "${store[@]}" bud --quiet --network host --ignorefile "$source_dir/.containerignore" "${recipe[@]}" >"$work/bud.log" 2>&1 ||
  { tail -n 30 "$work/bud.log"; fail "buildah bud"; }
config=$(buildah "${store[@]}" inspect --type image --format '{{.Docker.Config.User}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.StopSignal}} {{.Docker.Config.Healthcheck.Test}} {{index .Docker.Config.Labels "org.opencontainers.image.licenses"}}' localhost/haarflow)
echo "$config"
[ "$config" = "10001:10001 [haarflow-server] SIGTERM [CMD haarflow healthcheck] Apache-2.0" ] || fail "the image's configuration"

say "ch-run: read-only root, unprivileged"
container=$(buildah "${store[@]}" from localhost/haarflow)
image=$(buildah "${store[@]}" mount "$container")
# Charliecloud runs what an image tells it to: its entry point and its variables.
mkdir "$work/run"
chown 10001:10001 "$work/run"
# The way to the image, for another user than root.
chmod 755 "$work" "$work/storage" "$work/storage/vfs" "$work/storage/vfs/dir"
inside=(env USER=haarflow setpriv --reuid 10001 --regid 10001 --clear-groups ch-run --unset-env='*' --set-env=PATH=/usr/bin:/bin
  --set-env=HAARFLOW_OPT_STORE=/usr/share/haarflow/models --bind "$work/run:/mnt" "$image" --)
echo "ch-run --unset-env=* --set-env=PATH=... --set-env=HAARFLOW_OPT_STORE=... --bind run:/mnt IMAGE -- ..., by user 10001:"
in_image() { printf '$ %s\n' "$*"; "${inside[@]}" "$@"; }
in_image id
{ "${inside[@]}" touch /usr/share/haarflow/x 2>&1 || true; } | grep "Read-only file system" || fail "the root can be written"
"${inside[@]}" haarflow-server --listen unix:/mnt/socket --device cpu:1 --endpoint-file /mnt/endpoint.json >"$work/server.log" 2>&1 &
server=$!
pids+=("$server")
until_true 60 "the server in the container" test -e "$work/run/endpoint.json"
ps -o user:12=,args= -C haarflow-server | grep unix:/mnt || true
in_image haarflow --server unix:/mnt/socket healthcheck
in_image haarflow --no-progress --server unix:/mnt/socket sample u1-l8-b2 -n 1000 --seed 3 --observables plaquette
in_image haarflow-trainer check /usr/share/haarflow/specs/u1-l8-b2.txtpb
stop "$server"
[ ! -e "$work/run/endpoint.json" ] || fail "SIGTERM did not drain it"
buildah "${store[@]}" umount --all >/dev/null
buildah "${store[@]}" images
echo "done"
