#!/usr/bin/env bash
# The Debian package on a clean machine: makes it with cpack, installs it with apt into a root that
# debootstrap made and nothing else was put into, runs both programs there, and removes it again.
# Needs root (or sudo) and the packages debootstrap and desktop-file-utils.
# Usage: deb_test.sh BUILD_FOLDER WORK_FOLDER
set -euo pipefail
build=$(realpath "${1:?usage: deb_test.sh BUILD_FOLDER WORK_FOLDER}")
mkdir -p "${2:?usage: deb_test.sh BUILD_FOLDER WORK_FOLDER}"
work=$(realpath "$2")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$work/root
as_root=()
((EUID == 0)) || as_root=(sudo)

desktop-file-validate "$here/../../gui/packaging/fovea-gui.desktop"
rm -rf "$work"/*.deb
cpack --config "$build/CPackConfig.cmake" -B "$work" >/dev/null
package=$(echo "$work"/fovea_*.deb)
dpkg-deb --info "$package" | grep -E '^ (Package|Version|Architecture|Installed-Size|Depends):'

# The release and mirror that this machine itself uses.
# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" \
  'Label: Debian' | head -n 1)
"${as_root[@]}" rm -rf "$root"
"${as_root[@]}" debootstrap --variant=minbase "$release" "$root" "$mirror" >"$work/debootstrap.log" ||
  { tail -n 20 "$work/debootstrap.log"; exit 1; }

# In a mount namespace of its own, so that nothing stays mounted, whatever happens.
inside() {
  "${as_root[@]}" unshare --mount --pid --fork bash -c '
    mount --bind "$1" "$1" && mount -t proc proc "$1/proc" &&
      exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "${@:2}"' inside "$root" "$@"
}
"${as_root[@]}" cp "$package" "$root/tmp/fovea.deb"
"${as_root[@]}" cp "$here/check_installed.sh" "$root/tmp/"
inside apt-get update -qq
inside apt-get install -y -qq --no-install-recommends /tmp/fovea.deb >"$work/install.log" ||
  { tail -n 20 "$work/install.log"; exit 1; }
inside bash /tmp/check_installed.sh /usr /tmp/window.png
cp "$root/tmp/window.png" "$work/"
inside dpkg --purge fovea >/dev/null
for path in usr/bin/fovea usr/bin/fovea-gui usr/share/fovea; do
  [[ ! -e $root/$path ]] || { echo "removing the package leaves /$path" >&2; exit 1; }
done
echo "$(basename "$package"): installed, ran and was removed on a clean $release ($mirror)"
"${as_root[@]}" rm -rf "$root"
