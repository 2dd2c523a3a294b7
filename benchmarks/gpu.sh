#!/usr/bin/env bash
# Everything that is to be measured on a GPU, in one go: see benchmarks/gpu.py.
#   bash benchmarks/gpu.sh [--out FOLDER] [--data FOLDER] [--rehearse]
# Needs no installation of breaknet and no network. PYTHON chooses the interpreter.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
