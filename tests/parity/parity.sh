#!/usr/bin/env bash
# Checks Fovea against transformers on a LLaVA-1.5 checkpoint of your own:
#
#   bash tests/parity/parity.sh MODEL_DIR [IMAGE] [QUESTION]
#   bash tests/parity/parity.sh --random [--count N] [--seed S]
#   bash tests/parity/parity.sh --pruned [--count N] [--seed S]    pruning against an eager decoder
#
# Needs a Python with torch, transformers (4.50 or newer), Pillow and numpy; with sentencepiece the
# prompt's ids are checked too, and --random needs it. PYTHON names that Python (default: build/venv,
# which `bash tests/run.sh --full` makes, else python3), FOVEA the program (default:
# build/release/fovea). Everything runs in float32, so a 7B checkpoint takes some 28 GB of memory,
# first for the one side, then for the other. Exit status: 0 equal, 1 different, 2 could not run.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

python=${PYTHON:-}
if [[ -z $python ]]; then
  python=python3
  [[ -x $root/build/venv/bin/python ]] && python=$root/build/venv/bin/python
fi
if ! reason=$("$python" -c 'import torch, transformers, PIL, numpy' 2>&1); then
  echo "parity: $python lacks what this check needs: ${reason##*$'\n'}" >&2
  echo "parity: make one with: python3 -m venv build/venv &&" \
    "build/venv/bin/pip install -r tests/parity/requirements.txt" >&2
  exit 2
fi
check=parity.py
[[ ${1:-} == --pruned ]] && check=pruned.py
exec "$python" "$here/$check" "$@"
