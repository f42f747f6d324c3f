#!/usr/bin/env bash
# Whether an installed Fovea answers: the command and the viewer, each with the bundled model that
# it finds by itself. Usage: check_installed.sh PREFIX [FILE.png], which gets a picture of the window.
set -euo pipefail
prefix=${1:?usage: check_installed.sh PREFIX}
samples=$prefix/share/fovea/samples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "$*" >&2
  exit 1
}

sample=$(head -n 1 "$samples/samples.jsonl")
field() { sed -n "s/.*\"$1\": *\"\\([^\"]*\\)\".*/\\1/p" <<<"$sample"; }
image=$samples/$(field image)
question=$(field question)
expected=$(field answer)

answer=$("$prefix/bin/fovea" ask --quiet --image "$image" --question "$question")
[[ $answer == "$expected" ]] || fail "fovea answered \"$answer\" instead of \"$expected\""

cat >"$work/script" <<END
size 1280 800
open $image
ask $question
answer
shot window
END
"$prefix/bin/fovea-gui" --screenshot "$work" --script "$work/script" >"$work/said" ||
  fail "fovea-gui failed"
grep -qF "\"answer\":\"$expected\"" "$work/said" ||
  fail "fovea-gui said $(cat "$work/said") instead of \"$expected\""
# A window in which something is drawn: an empty one compresses to a few kilobytes.
(($(stat -c %s "$work/window.png") > 20000)) || fail "fovea-gui's window is empty"
[[ -z ${2:-} ]] || cp "$work/window.png" "$2"
echo "$prefix: fovea and fovea-gui answer \"$expected\""
