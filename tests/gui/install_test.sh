#!/usr/bin/env bash
# `cmake --install` into a prefix far from the source tree brings programs that run, and what a
# desktop needs to show them. Usage: install_test.sh BUILD_FOLDER
set -euo pipefail
build=${1:?usage: install_test.sh BUILD_FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >/dev/null

for file in applications/fovea-gui.desktop icons/hicolor/scalable/apps/fovea-gui.svg \
  icons/hicolor/256x256/apps/fovea-gui.png doc/fovea/copyright doc/fovea/LICENSES.md; do
  [[ -s $prefix/share/$file ]] || { echo "share/$file was not installed" >&2; exit 1; }
done
desktop=$prefix/share/applications/fovea-gui.desktop
program=$(sed -n 's/^Exec=\([^ ]*\).*/\1/p' "$desktop")
[[ -x $prefix/bin/$program ]] || { echo "the desktop file starts $program, which is not there" >&2; exit 1; }
icon=$(sed -n 's/^Icon=//p' "$desktop")
[[ -s $prefix/share/icons/hicolor/scalable/apps/$icon.svg ]] || { echo "no icon is called $icon" >&2; exit 1; }
bash "$here/check_installed.sh" "$prefix"
