#!/bin/sh
# runtime.sh PACKAGES: installs the Debian package found there into a bare Debian 12, and makes the user that it runs as.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$1"/haarflow_*.deb >/dev/null
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
# By number, so that "not root" can be checked by an orchestrator; no home, no shell.
echo 'haarflow:x:10001:10001:haarflow:/var/lib/haarflow:/usr/sbin/nologin' >>/etc/passwd
echo 'haarflow:x:10001:' >>/etc/group
mkdir -p /var/lib/haarflow
chown 10001:10001 /var/lib/haarflow
haarflow --version
