#!/usr/bin/env bash
# Each check of check_tree.sh must pass on a good small tree and fail on one that breaks its promise.
set -euo pipefail
checker=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/check_tree.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

make_good_tree() {
  rm -rf "${tree:?}"/*
  mkdir -p "$tree"/{kernels,vlm,assets/samples,build/release}
  echo '#include "kernels/tensor.h"' >"$tree/vlm/decoder.cpp"
  echo '#include <vector>' >"$tree/kernels/tensor.h"
  # shellcheck disable=SC2016
  echo 'Ours: `samples/*.png`' >"$tree/assets/LICENSES.md"
  touch "$tree/assets/samples/cat.png" "$tree/README.md"
}

expect() {  # expect pass|fail CHECK WHY
  local outcome=pass
  bash "$checker" "$2" "$tree" >/dev/null 2>&1 || outcome=fail
  if [[ $outcome != "$1" ]]; then
    echo "$2: expected $1, got $outcome: $3" >&2
    failures=$((failures + 1))
  fi
}

make_good_tree
checks="tracked_files_stay_under_48_mib top_level_holds_only_the_agreed_names includes_point_downward_only
  every_asset_has_a_licence weight_files_stay_under_15_mb source_files_stay_under_700_lines"
for check in $checks; do expect pass "$check" "a good tree"; done

truncate -s 49M "$tree/kernels/big.bin"
expect fail tracked_files_stay_under_48_mib "a sparse file of 49 MiB"

make_good_tree
truncate -s 49M "$tree/build/release/fovea"
expect pass tracked_files_stay_under_48_mib "build output does not count"

make_good_tree
mkdir "$tree/utils" && touch "$tree/utils/misc.h"
expect fail top_level_holds_only_the_agreed_names "a folder utils"

make_good_tree
echo '#include "vlm/decoder.h"' >"$tree/kernels/tensor.h"
expect fail includes_point_downward_only "kernels includes vlm"

make_good_tree
echo '#include "tensor.h"' >"$tree/kernels/tensor.cpp"
expect fail includes_point_downward_only "an include that is not written from the root"

make_good_tree
touch "$tree/assets/samples/song.mp3"
expect fail every_asset_has_a_licence "an asset of a kind not listed"

make_good_tree
truncate -s 16000000 "$tree/assets/samples/model.safetensors"
expect fail weight_files_stay_under_15_mb "a weight file of 16 MB"

make_good_tree
yes '// line' 2>/dev/null | head -701 >"$tree/vlm/long.cpp" || true
expect fail source_files_stay_under_700_lines "a source of 701 lines"

((failures == 0))
