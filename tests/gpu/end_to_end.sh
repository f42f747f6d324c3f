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

answers() {  # answers DEVICE DTYPE
  timeout 280 "$fovea" eval --device "$1" --dtype "$2" --questions assets/eval/questions.jsonl \
    ${LIMIT:+--limit "$LIMIT"} --answers "$out/answers-$1-$2.jsonl" >"$out/eval-$1-$2.txt" 2>&1 ||
    { tail -3 "$out/eval-$1-$2.txt"; return 1; }
  grep -E '^none ' "$out/eval-$1-$2.txt"
}

if [[ " $parts " == *" answers "* ]]; then
  answers cpu f32 && answers cuda f32 && answers cuda bf16 && answers cuda f16 &&
    python3 tests/gpu/compare.py answers "$out/answers-cpu-f32.jsonl" "$out/answers-cuda-f32.jsonl" 1.0 &&
    python3 tests/gpu/compare.py answers "$out/answers-cpu-f32.jsonl" "$out/answers-cuda-bf16.jsonl" 0.995 &&
    python3 tests/gpu/compare.py answers "$out/answers-cpu-f32.jsonl" "$out/answers-cuda-f16.jsonl" 0.995 || bad=1
fi
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
