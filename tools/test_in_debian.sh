#!/usr/bin/env bash
# Run the whole test suite in a fresh Debian, with that Debian's own Python.
#   tools/test_in_debian.sh FOLDER [SUITE [PYTEST OPTIONS...]]
# FOLDER is made by debootstrap once (as root; about 5 GB with the packages) and used again. SUITE is
# trixie unless named, which has Python 3.13. Tests that need real recordings get a copy of
# GENRE_JAX_DATA, if it is set.
set -euo pipefail
if [ $# -lt 1 ]; then
  echo "usage: $0 FOLDER [SUITE [PYTEST OPTIONS...]]" >&2
  exit 2
fi
folder=$(mkdir -p "$1" && cd "$1" && pwd)
suite=${2-trixie}
shift $(($# < 2 ? $# : 2))
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ ! -e "$folder/etc/debian_version" ]; then
  debootstrap --variant=minbase --include=python3,python3-venv,git,ca-certificates \
    "$suite" "$folder"
fi
rm -rf "$folder/srv/checkout"
mkdir -p "$folder/srv/checkout" "$folder/root/data"
# The files of the working tree that git tracks, or would.
(cd "$checkout" && git ls-files -z --cached --others --exclude-standard \
  | tar --null --files-from=- --ignore-failed-read -cf -) | tar -xf - -C "$folder/srv/checkout"
if [ -n "${GENRE_JAX_DATA-}" ]; then
  cp -a "$GENRE_JAX_DATA/." "$folder/root/data/"
fi
cp /etc/resolv.conf "$folder/etc/resolv.conf"
echo "127.0.0.1 localhost $(hostname)" >"$folder/etc/hosts"
# Networks with a certificate authority of their own need its certificate in there too.
cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/ca-certificates.crt"
mountpoint -q "$folder/proc" || mount -t proc proc "$folder/proc"
mountpoint -q "$folder/dev" || mount --rbind /dev "$folder/dev"
# So that unmounting it below leaves the /dev of this machine as it is.
mount --make-rslave "$folder/dev"
trap 'umount -l "$folder/proc"; umount -l "$folder/dev"' EXIT
chroot "$folder" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
  PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DEFAULT_TIMEOUT=180 \
  GENRE_JAX_DATA=/root/data GENRE_JAX_PYTHON=python3 GENRE_JAX_VENV=/root/venv \
  bash -c 'cd /srv/checkout && python3 -V && ./run.sh test --slow "$@"' bash "$@"
