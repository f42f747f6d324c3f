#!/usr/bin/env bash
# Checks on the tree itself. Usage: check_tree.sh CHECK [ROOT], where CHECK is one of the functions
# below. Prints what is wrong and exits with 1, or exits with 0. Looks at the files git tracks; in a
# tree without git (an archive) at every file but build output.
set -euo pipefail
check=${1:?usage: check_tree.sh CHECK [ROOT]}
root=${2:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
cd "$root"

failures=0
complain() {
  echo "$*" >&2
  failures=$((failures + 1))
}

# Files of the tree below the given paths (default: all), relative to the root.
list_files() {
  if [[ -e .git ]] && git rev-parse --git-dir >/dev/null 2>&1; then
    git -c core.quotePath=off ls-files -- "$@" | while read -r file; do
      if [[ -e $file ]]; then echo "$file"; fi  # not one that is deleted but not yet committed
    done
  else
    find "${@:-.}" -type f -not -path './build*' -not -path './.git/*' -not -path './.cache/*' \
      -not -path '*/__pycache__/*' 2>/dev/null | sed 's|^\./||'
  fi
}

# The tree must travel to other machines whole.
tracked_files_stay_under_48_mib() {
  local limit=$((48 * 1024 * 1024)) total
  total=$(list_files | tr '\n' '\0' | xargs -0 stat -c %s | awk '{ sum += $1 } END { print sum + 0 }')
  ((total < limit)) || complain "the tree holds $total bytes, allowed are $limit"
}

top_level_holds_only_the_agreed_names() {
  local allowed=" CMakeLists.txt CMakePresets.json README.md LICENSE SECURITY.md app vlm vision pruning kernels gui assets tests "
  local name
  for name in $(list_files | cut -d/ -f1 | sort -u); do
    [[ $name == .* || $allowed == *" $name "* ]] || complain "$name does not belong at the top level"
  done
}

# A folder sees itself and those below it; every quoted include is written from the root.
includes_point_downward_only() {
  local -A below=(
    [kernels]="kernels"
    [pruning]="pruning kernels"
    [vision]="vision pruning kernels"
    [vlm]="vlm vision pruning kernels"
    [app]="app vlm vision pruning kernels"
    [gui]="gui vlm vision pruning kernels"
  )
  local folder line included
  for folder in "${!below[@]}"; do
    while read -r line; do
      included=${line##*#include \"}
      included=${included%%/*}
      [[ " ${below[$folder]} hwy " == *" $included "* ]] ||
        complain "$line: $folder/ may include only from: ${below[$folder]}"
    done < <(list_files "$folder" | grep -E '\.(cpp|h|cu|cuh|inl)$' | tr '\n' '\0' |
      xargs -0 -r grep -HnE '^ *#include "' || true)
  done
}

# assets/LICENSES.md names files, folders or patterns in `backticks`, from the root or from assets/.
every_asset_has_a_licence() {
  [[ -f assets/LICENSES.md ]] || { complain "assets/LICENSES.md is missing"; return; }
  local -a entries
  # shellcheck disable=SC2016
  mapfile -t entries < <(grep -o '`[^`]*`' assets/LICENSES.md | tr -d '`' | sed 's|^assets/||; s|/$||' | grep . || true)
  local file entry covered
  while read -r file; do
    [[ $file == assets/LICENSES.md ]] && continue
    covered=
    for entry in "${entries[@]}"; do
      # shellcheck disable=SC2053  # the entry may be a pattern
      if [[ ${file#assets/} == $entry || ${file#assets/} == $entry/* ]]; then
        covered=yes
        break
      fi
    done
    [[ $covered ]] || complain "$file is not listed in assets/LICENSES.md"
  done < <(list_files assets)
}

weight_files_stay_under_15_mb() {
  local file size
  while read -r file; do
    size=$(stat -c %s "$file")
    ((size <= 15000000)) || complain "$file has $size bytes, allowed are 15000000: save it in shards"
  done < <(list_files | grep '\.safetensors$' || true)
}

source_files_stay_under_700_lines() {
  local file lines
  while read -r file; do
    lines=$(wc -l <"$file")
    ((lines <= 700)) || complain "$file has $lines lines, allowed are 700: give each subject its own file"
  done < <(list_files | grep -E '\.(cpp|h|inl|cu|cuh|py|sh|cmake)$' || true)
}

if [[ $(type -t "$check") != function || $check == complain || $check == list_files ]]; then
  echo "check_tree.sh: no check is called $check" >&2
  exit 2
fi
"$check"
((failures == 0))
