#!/usr/bin/env bash
# Installs what the tests need, builds, and runs them.
#
#   bash tests/run.sh          what CI runs: every test on a release build, and the readers, pruning,
#                              kernels and vision once more under AddressSanitizer and UBSan;
#                              where there is nvcc, the CUDA sources are compiled
#   bash tests/run.sh --full   all of that, then for as long as it takes: parity with transformers on
#                              fresh random checkpoints, pruned and not, every test under the sanitizers, longer
#                              fuzzing, accuracy of both bundled models over assets/eval (written
#                              to tests/results/), benchmarks; the viewer on an X server and its
#                              measurements, the Debian package on a clean root
#
# Debian packages are installed only where some are missing (sudo only when not root). --full also
# makes a Python environment in build/venv; PYTHON=... names one to use instead.
set -euo pipefail
exec </dev/null
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
jobs=$(nproc)
export CTEST_OUTPUT_ON_FAILURE=1
# Tests run side by side: threads that wait must not keep a core busy.
export OMP_WAIT_POLICY=passive

full=
case "${1:-}" in
  "") ;;
  --full) full=yes ;;
  *)
    sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    [[ $1 == --help || $1 == -h ]] && exit 0 || exit 2
    ;;
esac

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

build_release() {
  say "Building release"
  cmake --preset release >/dev/null
  cmake --build --preset release -j "$jobs"
}

# The folders that read untrusted bytes or compute addresses; the rest is built without sanitizers.
build_sanitized() {
  say "Building with AddressSanitizer and UBSan"
  cmake --preset debug >/dev/null
  local -a targets=(kernels_tests pruning_tests vision_tests)
  mapfile -t -O 3 targets < <(cmake --build --preset debug --target help | grep -oE '^[a-z_]+_fuzz\b' || true)
  cmake --build --preset debug -j "$jobs" --target "${targets[@]}"
}

# No GPU is needed to compile for one; a machine without CUDA leaves it out.
build_cuda() {
  if ! command -v nvcc >/dev/null && [[ ! -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]]; then
    say "No nvcc here: the CUDA sources are not compiled"
    return
  fi
  say "Compiling the CUDA sources"
  cmake --preset cuda >/dev/null
  cmake --build --preset cuda -j "$jobs" --target fovea_kernels
}

# One run of CTest over both builds, so that its closing lines count every test.
run_tests() {
  say "Running the tests of both builds"
  mkdir -p build/tests
  printf 'subdirs("%s" "%s")\n' "$root/build/release" "$root/build/debug" >build/tests/CTestTestfile.cmake
  ctest --test-dir build/tests --output-on-failure -j "$jobs" --no-tests=error \
    -E '^(vlm|app|gui)_tests_NOT_BUILT$'
}

# ---- Only with --full --------------------------------------------------------------------------

failed=()
step() {  # step NAME COMMAND...: goes on after a failure, which the end reports
  say "$1"
  "${@:2}" || failed+=("$1")
}

# The other processors that the sources are written for: Ampere, and code that later cards translate.
build_cuda_everywhere() {
  [[ -d build/cuda ]] || return 0
  cmake --preset cuda -B build/full/cuda "-DFOVEA_CUDA_ARCHITECTURES=80;90a;90-virtual" >/dev/null &&
    cmake --build build/full/cuda -j "$jobs" --target fovea_kernels
}

make_python() {
  python=${PYTHON:-$root/build/venv/bin/python}
  if ! "$python" -c 'import torch, transformers, sentencepiece, PIL' 2>/dev/null; then
    say "Making a Python environment in build/venv"
    python3 -m venv build/venv
    build/venv/bin/pip install -q -r tests/parity/requirements.txt
    python=$root/build/venv/bin/python
  fi
  export PYTHON=$python
}

# Keeps accuracies, which are the same on every machine, and leaves timings out.
record_accuracy() {  # record_accuracy MODEL QUESTIONS
  local model=$1 questions=$2 name
  name=$model-$(basename "$questions" .jsonl)
  build/release/fovea eval --model "assets/models/$model" --questions "$questions" \
    --json "build/full/$name.json" || return 1
  "$PYTHON" - "build/full/$name.json" "tests/results/$name.json" <<'END'
import json, sys
runs = json.load(open(sys.argv[1]))["runs"]
kept = [{key: run[key] for key in ("prune", "accuracy", "by_category", "equivalent")} for run in runs]
with open(sys.argv[2], "w") as out:
    json.dump({"runs": kept}, out, indent=2, sort_keys=True)
    out.write("\n")
print(*(f"accuracy {run['accuracy']:.4f}  {run['prune']}" for run in kept), sep="\n")
END
}

test_everything_sanitized() {
  cmake --build --preset debug -j "$jobs" &&
    ctest --test-dir build/debug --output-on-failure -j "$jobs" -LE 'fuzz|repository'
}

fuzz() {  # fuzz NAME: five minutes, going on from what earlier runs found
  local found=build/full/fuzz/$1
  mkdir -p "$found"
  "build/debug/tests/fuzz/$1_fuzz" -max_total_time=300 -seed="$RANDOM" -timeout=20 -rss_limit_mb=2048 \
    -artifact_prefix="$found-" "$found" "tests/fuzz/corpus/$1" >"$found.log" 2>&1 && return
  echo "Fuzzing $1 failed, see $found.log:"
  tail -20 "$found.log"
  return 1
}

fuzz_everything() {  # a harness a core
  local harness name running=0 code=0
  for harness in build/debug/tests/fuzz/*_fuzz; do
    if ((running == jobs)); then wait -n || code=1; else ((++running)); fi
    name=$(basename "$harness" _fuzz)
    fuzz "$name" &
  done
  for ((; running > 0; --running)); do wait -n || code=1; done
  return $code
}

run_everything() {
  mkdir -p build/full tests/results
  make_python
  step "Parity with transformers on random checkpoints" bash tests/parity/parity.sh --random --count 24
  step "Pruning against an eager decoder" bash tests/parity/parity.sh --pruned --count 12
  local model questions shape name
  step "The CUDA sources for Ampere, Hopper and later cards" build_cuda_everywhere
  for name in drawing training; do
    step "Emoji World: $name" "$PYTHON" "tests/recipes/${name}_test.py"
  done
  step "The recipe of fovea-vit" "$PYTHON" tests/recipes/fovea_vit_test.py
  local -a samples=(assets/samples/*.png)
  for model in fovea-base fovea-guide; do
    step "Parity with transformers on $model" \
      bash tests/parity/parity.sh "assets/models/$model" "${samples[0]}"
    for questions in assets/eval/*.jsonl; do
      [[ $questions == *-labels.jsonl ]] && continue
      step "Accuracy of $model on $questions" record_accuracy "$model" "$questions"
    done
  done
  step "Every test under AddressSanitizer and UBSan" test_everything_sanitized
  step "The viewer's tests on an X server" env QT_QPA_PLATFORM=xcb xvfb-run -a \
    -s "-screen 0 1920x1080x24" build/release/tests/gui_tests
  step "How quickly the viewer answers" python3 tests/gui/measure.py build/release/fovea-gui
  step "The Debian package on a clean root" bash tests/gui/deb_test.sh build/release build/full/deb
  step "Fuzzing" fuzz_everything
  for shape in fovea-base llama-1.1b; do
    step "Benchmark of $shape" build/release/fovea bench --shape "$shape" --json "build/full/bench-$shape.json"
  done
  say "Everything ran"
  if ((${#failed[@]})); then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
  fi
  echo "all passed"
  git diff --stat -- tests/results 2>/dev/null || true
}

emoji_world_fonts=(fonts-noto-color-emoji fonts-dejavu-core fonts-liberation2 fonts-roboto-slab fonts-comic-neue
  fonts-bebas-neue fonts-yanone-kaffeesatz)
viewer_tools=(xvfb xauth debootstrap desktop-file-utils dpkg-dev file)
bash app/install_packages.sh libgtest-dev qt6-base-dev \
  ${full:+python3-venv "${emoji_world_fonts[@]}" "${viewer_tools[@]}"}
build_release
build_sanitized
build_cuda
if [[ -z $full ]]; then
  run_tests
  exit
fi
step "The tests of both builds" run_tests
run_everything
