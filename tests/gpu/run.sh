#!/usr/bin/env bash
# Checks and times everything on a GPU in one go and prints one table.
#
#   tests/gpu/run.sh [BINARIES]    BINARIES: the build folder, default build/cuda. Build it with
#                                  cmake --preset cuda && cmake --build --preset cuda
#
# Steps: the kernel suites over f32, f16 and bf16; compute-sanitizer (memcheck, racecheck) over a
# part of them; kernel timings beside the card's ceilings; fovea's own checks and benchmark;
# transformers on the same shapes. Logs and results go to $OUT (default build/gpu-results). STEPS
# picks some of them ("kernels sanitizer timings end_to_end bench transformers"). A step that cannot run
# says so; one that fails makes the whole run fail. The card's settings are left alone.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
bin=${1:-build/cuda}
out=${OUT:-build/gpu-results}
mkdir -p "$out"
steps=${STEPS:-kernels sanitizer timings end_to_end bench transformers}
shards=${SHARDS:-8}
tests=$bin/tests/kernels_tests
[[ -x $tests ]] || tests=$bin/kernels_tests
failed=()

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
wanted() { [[ " $steps " == *" $1 "* ]]; }
fail() { failed+=("$1"); echo "FAILED: $1"; }

# The suites side by side; prints the closing lines and what failed.
kernels() {
  local shard pids=() bad=0
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard timeout 300 "$tests" --gtest_brief=1 \
      --gtest_filter='*cuda*' >"$out/kernels-$shard.log" 2>&1 &
    pids+=($!)
  done
  for shard in "${!pids[@]}"; do wait "${pids[$shard]}" || bad=1; done
  grep -h '^\[  PASSED\|^\[  SKIPPED\|^\[  FAILED' "$out"/kernels-*.log |
    awk '$2 == "PASSED" { n += $4 } $2 == "SKIPPED" { s += $4 } END { print n + 0, "passed,", s + 0, "skipped" }'
  grep -h '^\[  FAILED' "$out"/kernels-*.log | grep -v ' ms)' | sort -u | head -40
  cat "$out"/kernels-*.log >"$out/kernels.log" && rm "$out"/kernels-*.log
  return $bad
}

sanitize() {  # sanitize TOOL FILTER
  timeout 280 compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 5 "$tests" --gtest_brief=1 \
    --gtest_filter="$2" >"$out/$1.log" 2>&1
  local code=$?
  grep -E '^========= (ERROR SUMMARY|RACECHECK SUMMARY|Error|Race|Warning)|PASSED|FAILED' "$out/$1.log" | head -12
  return $code
}

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
if wanted kernels; then
  say "Kernel suites"
  kernels || fail "kernel suites"
fi
# Every kernel once, in shapes small enough for a hundredfold slower run.
small='*every_shape_of_the_tensor_cores*cuda*:*sequences_of_different_lengths*cuda*:*rows_without_keys*cuda*'
small+=':*a_row_that_saw_no_key*cuda*:*nothing_asked_for*cuda*:*columns_beyond*cuda*'
small+=':*the_best_of_many*cuda*:*affinity*cuda*:*norms_are*cuda*:*MergeTest*cuda*:*chosen_rows*cuda*'
small+=':*a_product_has_the_same_bits*cuda*:*normalised_rows*cuda*:*orm*Test*cuda*:*ope*Test*cuda*:*ctivation*cuda*'
if wanted sanitizer; then
  for tool in memcheck racecheck; do
    say "compute-sanitizer $tool"
    sanitize $tool "$small" || fail "$tool"
  done
fi
if wanted timings; then
  bench=$bin/tests/bench/cuda_bench
  [[ -x $bench ]] || bench=$bin/cuda_bench
  say "Kernel timings"
  timeout 200 "$bench" 2>&1 | tee "$out/kernel-timings.txt" || fail "kernel timings"
fi
fovea=$bin/fovea
if wanted end_to_end && [[ -x tests/gpu/end_to_end.sh ]]; then
  say "End to end"
  tests/gpu/end_to_end.sh "$fovea" "$out" || fail "end to end"
fi
if wanted bench && [[ -x $fovea ]]; then
  say "fovea bench"
  timeout 250 "$fovea" bench --device cuda --shape llava-1.5-7b --prune none --prune adaptinfer \
    --json "$out/bench.json" || fail "fovea bench"
fi
if wanted transformers; then
  say "transformers on the same shapes"
  timeout 250 python3 tests/gpu/transformers_llava.py >"$out/transformers.json" 2>"$out/transformers.log" ||
    fail "transformers"
fi
if wanted bench || wanted transformers; then
  say "Table"
  python3 tests/gpu/table.py "$out" | tee "$out/table.txt"
fi
say "Done"
((${#failed[@]} == 0)) && { echo "all passed"; exit 0; }
printf 'FAILED: %s\n' "${failed[@]}"
exit 1
