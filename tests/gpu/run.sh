#!/usr/bin/env bash
# Checks and times everything on NVIDIA GPUs in one go and prints one table.
#
#   tests/gpu/run.sh [BINARIES]    BINARIES: the build folder, default build/cuda. Build it with
#                                  cmake --preset cuda && cmake --build --preset cuda --target all cuda_bench
#
# Steps: timings (kernels beside the card's ceilings), bench (the table's column), batch (32 questions on 32
# pictures side by side), tuned (both once more with the algorithms that --autotune finds), long (2,880 and
# 18,000 visual tokens), transformers (the same shapes in the same run, eager and compiled); kernels (every suite of the operations over f32, f16 and bf16), models (the suites
# of whole models, their golden files and references, on the GPU), memcheck and racecheck (compute-sanitizer
# over a part of the suites), answers (all bundled questions against the CPU), methods, classify, llava (a
# LLaVA-1.5-7B that transformers made). STEPS picks some of them. What is timed has the first GPU to itself;
# the rest divide the others, or share the only one afterwards (which takes 60 GB of its memory). Logs and
# results go to $OUT (default build/gpu-results). A step that fails makes the whole run fail. The card's
# settings are left alone.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
bin=${1:-build/cuda}
out=${OUT:-build/gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/*.status
timed="bench batch tuned timings transformers long"
checks="racecheck llava answers memcheck kernels models methods classify"
steps=${STEPS:-$timed $checks}
fovea=$bin/fovea
export FOVEA_MODEL=${FOVEA_MODEL:-$root/assets/models/fovea-base}
# No table of algorithms from before: only the step `tuned` has one, of its own.
export FOVEA_CACHE=$out/no-cache
rm -rf "$out/cache" "$out/no-cache"

program() {  # program NAME: below the build folder or in a folder of programs alone
  local found
  for found in "$bin/tests/$1" "$bin/tests/bench/$1" "$bin/$1"; do
    [[ -x $found ]] && { echo "$found"; return; }
  done
  echo "$bin/$1"
}
tests=$(program kernels_tests)

# Tests side by side; prints how many passed and what failed. None passed is a failure too.
suites() {  # suites NAME SHARDS FILTER PROGRAM
  local name=$1 shards=$2 filter=$3 program=$4 shard pids=() bad=0
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard OMP_NUM_THREADS=2 timeout 400 "$program" \
      --gtest_brief=1 --gtest_filter="$filter" >"$out/$name-$shard.part" 2>&1 &
    pids+=($!)
  done
  for shard in "${!pids[@]}"; do wait "${pids[$shard]}" || bad=1; done
  grep -h '^\[  PASSED\|^\[  SKIPPED' "$out/$name"-*.part |
    awk '$2 == "PASSED" { n += $4 } $2 == "SKIPPED" && $5 ~ /^tests?/ { s += $4 } END { print n + 0, "passed,", s + 0, "skipped" }'
  grep -h '^\[  FAILED' "$out/$name"-*.part | grep -v ' ms)' | sort -u | head -40
  cat "$out/$name"-*.part >"$out/$name.txt" && rm "$out/$name"-*.part
  grep -q '^\[  PASSED  \] [1-9]' "$out/$name.txt" && return $bad
  return 1
}

# Every kernel once, in shapes small enough for a hundredfold slower run.
small='*every_shape_of_the_tensor_cores*cuda*:*sequences_of_different_lengths*cuda*:*rows_without_keys*cuda*'
small+=':*a_row_that_saw_no_key*cuda*:*nothing_asked_for*cuda*:*columns_beyond*cuda*'
small+=':*the_best_of_many*cuda*:*affinity*cuda*:*norms_are*cuda*:*MergeTest*cuda*:*chosen_rows*cuda*'
small+=':*CutTest*cuda*:*PictureTest*cuda*'
small+=':*SurvivorsTest*cuda*:*RatingsTest*cuda*:*CountsTest*cuda*:*GroupsTest*cuda*:*heads_are*cuda*'
small+=':*few_rows*cuda*:*rows_far_from*cuda*:*AlikeTest*cuda*'
small+=':*a_product_has_the_same_bits*cuda*:*normalised_rows*cuda*:*orm*Test*cuda*:*ope*Test*cuda*:*ctivation*cuda*'

sanitize() {  # sanitize TOOL: in four processes side by side
  local tool=$1 shards=4 shard pids=() code=0
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard timeout 500 compute-sanitizer --tool "$tool" \
      --error-exitcode 9 --print-limit 5 "$tests" --gtest_brief=1 --gtest_filter="$small" \
      >"$out/$tool-$shard.part" 2>&1 &
    pids+=($!)
  done
  for shard in "${!pids[@]}"; do wait "${pids[$shard]}" || code=1; done
  cat "$out/$tool"-*.part >"$out/$tool.txt" && rm "$out/$tool"-*.part
  grep -E '^========= (ERROR SUMMARY|RACECHECK SUMMARY|Error|Race|Warning)|PASSED|FAILED' "$out/$tool.txt" | head -24
  return $code
}

# Suites that compare with expected values or with a reference of their own, whatever computes.
models='*GoldenLlava.*:*PruningMethods.*:Pruning.*:*EveryMethod.*:GuidedSession.*:*ResumedQuestion.*:TowerPruning.*'
models+=':*BundledModel.*:Session*.*:BatchSession.*:*BatchOfQuestions.*:Importance.*'

run_step() {
  case $1 in
    timings) timeout 200 "$(program cuda_bench)" 2>&1 | tee "$out/kernel-timings.txt" ;;
    bench)
      timeout 250 "$fovea" bench --device cuda --shape llava-1.5-7b --prune none --prune adaptinfer \
        --json "$out/bench.json"
      ;;
    batch)
      timeout 250 "$fovea" bench --device cuda --shape llava-1.5-7b --batch 32 --repeat 7 --prune none \
        --prune adaptinfer --json "$out/batch.json"
      ;;
    tuned)
      local -a shape=(bench --device cuda --shape llava-1.5-7b --prune none --prune adaptinfer)
      export FOVEA_CACHE=$out/cache
      timeout 250 "$fovea" "${shape[@]}" --batch 32 --repeat 1 --autotune --quiet >/dev/null &&
        timeout 250 "$fovea" "${shape[@]}" --json "$out/tuned.json" &&
        timeout 250 "$fovea" "${shape[@]}" --batch 32 --repeat 7 --json "$out/tuned-batch.json"
      ;;
    long)
      local tokens
      for tokens in 2944 18064; do
        timeout 250 "$fovea" bench --device cuda --shape vicuna-7b --prompt-tokens $tokens --repeat 3 \
          --prune none --prune adaptinfer --json "$out/bench-$tokens.json" || return 1
      done
      ;;
    transformers)
      timeout 400 python3 tests/gpu/transformers_llava.py --compile >"$out/transformers.json" \
        2>"$out/transformers.txt" || { tail -5 "$out/transformers.txt"; return 1; }
      ;;
    kernels)
      local bad=0
      suites kernels 8 '*cuda*' "$tests" || bad=1
      suites vision 2 '*cuda*:TowerOnTheGpu*' "$(program vision_tests)" || bad=1
      suites cuts 2 '*cuda*:*CutsOnTheGpu*' "$(program vlm_tests)" || bad=1  # and batches
      return $bad
      ;;
    models) FOVEA_TEST_DEVICE=cuda suites models 6 "$models" "$(program vlm_tests)" ;;
    memcheck | racecheck) sanitize "$1" ;;
    *) PARTS=$1 tests/gpu/end_to_end.sh "$fovea" "$out" ;;
  esac
}

# Runs a step, keeps what it prints, and says it in one piece when it ends.
finish() {
  local step=$1 begin=$SECONDS code=0
  run_step "$step" >"$out/$step.log" 2>&1 || code=$?
  echo "$code" >"$out/$step.status"
  (
    flock 9
    printf '\n== %s (%d s, exit %d)\n' "$step" $((SECONDS - begin)) "$code"
    cat "$out/$step.log"
  ) 9>"$out/.print"
}

wanted() { [[ " $steps " == *" $1 "* ]]; }
IFS=, read -ra cards <<<"${CUDA_VISIBLE_DEVICES:-$(nvidia-smi --query-gpu=index --format=csv,noheader | paste -sd,)}"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
echo "${#cards[@]} of them used: ${cards[*]}"

# With cores to spare, eight of them belong to what is timed.
mapfile -t cores < <(taskset -cp $$ | sed 's/.*: //' | tr ',' '\n' |
  while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done)
keep_to() {  # keep_to CORE...: this shell and what it starts
  taskset -cp "$(IFS=,; echo "$*")" "$BASHPID" >/dev/null
}

queue=$out/.queue
rm -rf "$queue" && mkdir "$queue"
work_through() {  # work_through CARD STEP...: the steps that nobody else has taken yet
  local card=$1 step
  shift
  for step in "$@"; do
    wanted "$step" && mkdir "$queue/$step" 2>/dev/null && CUDA_VISIBLE_DEVICES=$card finish "$step"
  done
}
workers=()
for ((i = 1; i < ${#cards[@]}; ++i)); do
  {
    ((${#cores[@]} >= 16)) && keep_to "${cores[@]:8}"
    work_through "${cards[$i]}" $checks
  } &
  workers+=($!)
done
((${#cores[@]} >= 16 && ${#cards[@]} > 1)) && keep_to "${cores[@]:0:8}"
work_through "${cards[0]}" $timed
keep_to "${cores[@]}"
if ((${#cards[@]} == 1)); then
  for step in $checks; do
    work_through "${cards[0]}" "$step" &
    workers+=($!)
  done
else
  work_through "${cards[0]}" $checks
fi
for pid in "${workers[@]}"; do wait "$pid"; done
rm -rf "$queue"

if wanted bench || wanted transformers; then
  printf '\n== Table (%d s)\n' "$SECONDS"
  python3 tests/gpu/table.py "$out" | tee "$out/table.txt"
fi
failed=()
for step in $timed $checks; do
  if wanted "$step" && [[ $(cat "$out/$step.status" 2>/dev/null) != 0 ]]; then failed+=("$step"); fi
done
printf '\n== Done (%d s)\n' "$SECONDS"
((${#failed[@]} == 0)) && { echo "all passed: $steps"; exit 0; }
printf 'FAILED: %s\n' "${failed[@]}"
exit 1
