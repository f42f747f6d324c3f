#!/usr/bin/env bash
# Installs the Debian packages of app/packages.txt and those named on the line, as far as they are
# missing. Does nothing, and asks for no rights, when all are there.
# Usage: install_packages.sh [PACKAGE...]
set -euo pipefail
list=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/packages.txt
mapfile -t wanted < <(sed 's/#.*//' "$list" | grep -oE '[a-z0-9.+-]+')
wanted+=("$@")

if ! command -v dpkg-query >/dev/null; then
  echo "This is no Debian system; these packages, or their like, must be there: ${wanted[*]}" >&2
  exit 0
fi
missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "Install these Debian packages as root, then run this again: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
