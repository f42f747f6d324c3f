#!/usr/bin/env bash
# The command on a GPU beside the command on the CPU, and beside transformers at full size.
#
#   tests/gpu/end_to_end.sh FOVEA OUT    FOVEA: the program; OUT: folder for answers and logs
#
# LIMIT=N asks only N of the bundled questions; PARTS picks some of "answers methods classify llava".
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
fovea=$1 out=$2
parts=${PARTS:-answers methods classify llava}
mkdir -p "$out"
bad=0

evaluate() {  # evaluate DEVICE DTYPE NAME [OPTION...]: answers to OUT/answers-NAME.jsonl
  local device=$1 dtype=$2 name=$3
  shift 3
  timeout 500 "$fovea" eval --device "$device" --dtype "$dtype" --questions assets/eval/questions.jsonl \
    ${LIMIT:+--limit "$LIMIT"} --answers "$out/answers-$name.jsonl" "$@" >"$out/eval-$name.txt" 2>&1 ||
    { tail -3 "$out/eval-$name.txt"; return 1; }
}

# The CPU's answers, by as many processes as there are groups of four cores.
answers_of_cpu() {
  local chunks=$(($(nproc) / 4)) chunk pids=() code=0
  ((chunks > 0)) || chunks=1
  for ((chunk = 0; chunk < chunks; ++chunk)); do
    evaluate cpu f32 "cpu-part$chunk" --threads 4 --num-chunks $chunks --chunk-idx $chunk &
    pids+=($!)
  done
  for chunk in "${!pids[@]}"; do wait "${pids[$chunk]}" || code=1; done
  for ((chunk = 0; chunk < chunks; ++chunk)); do cat "$out/answers-cpu-part$chunk.jsonl"; done \
    >"$out/answers-cpu-f32.jsonl"
  rm -f "$out"/answers-cpu-part*.jsonl
  return $code
}

answers() {
  local pids=() type code=0
  answers_of_cpu &
  pids+=($!)
  for type in f32 bf16 f16; do
    evaluate cuda $type cuda-$type &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || code=1; done
  grep -hE '^none ' "$out"/eval-cuda-*.txt
  ((code == 0)) || return 1
  local least=(1.0 0.995 0.995) i=0
  for type in f32 bf16 f16; do
    python3 tests/gpu/compare.py answers "$out/answers-cpu-f32.jsonl" "$out/answers-cuda-$type.jsonl" \
      "${least[i++]}" || code=1
  done
  return $code
}

if [[ " $parts " == *" answers "* ]]; then answers || bad=1; fi
if [[ " $parts " == *" methods "* ]]; then
  timeout 280 python3 tests/gpu/compare.py methods "$fovea" || bad=1
fi
if [[ " $parts " == *" classify "* ]]; then
  timeout 60 python3 tests/gpu/compare.py classify "$fovea" "$out" || bad=1
fi
if [[ " $parts " == *" llava "* ]]; then
  timeout 400 python3 tests/gpu/full_size.py "$fovea" "$out" || bad=1
fi
exit $bad
