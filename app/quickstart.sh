#!/usr/bin/env bash
# From a fresh Debian 12 machine to an answer: installs what the build needs, builds fovea, asks one
# question about a bundled picture, and draws where the answer looked. Running it again repeats
# only the asking.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/quickstart
output=$build/answer

# ---- Debian packages that are missing ----------------------------------------------------------
bash "$root/app/install_packages.sh"

# ---- Build -------------------------------------------------------------------------------------
if [[ ! -f $build/build.ninja ]]; then
  cmake -S "$root" --preset release -B "$build" -DFOVEA_TESTS=OFF
fi
ninja -C "$build" fovea

# ---- Ask ---------------------------------------------------------------------------------------
# The first sample with a question.
sample=$(head -n 1 "$root/assets/samples/samples.jsonl")
field() { sed -n "s/.*\"$1\": *\"\\([^\"]*\\)\".*/\\1/p" <<<"$sample"; }
image=$root/assets/samples/$(field image)
question=$(field question)

echo
echo "Picture:  ${image#"$root"/}"
echo "Question: $question"
printf 'Answer:   '
"$build/fovea" heatmap --image "$image" --question "$question" --out "$output"
