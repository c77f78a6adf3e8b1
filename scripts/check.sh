#!/bin/bash
# Builds ganq and runs its tests: scripts/check.sh [--fast]
#
# The fast tier is lit, unit and runtime tests; the full one adds ONNX
# conformance, the Python package and runs of real models. The last line is
# `N passed, N failed`; the exit status is 0 only if something ran and nothing
# failed. Tests that need data that is not there are skipped and say so.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

tier=full
for argument in "$@"; do
  case "$argument" in
  --fast) tier=fast ;;
  *)
    echo "error: expected --fast or nothing, but got '$argument'" >&2
    exit 2
    ;;
  esac
done

if ! ganq_setup || ! ganq_build; then
  echo "0 passed, 1 failed"
  exit 1
fi
exec "$GANQ_VENV/bin/python" "$GANQ_ROOT/scripts/run_checks.py" --tier="$tier" --build="$GANQ_BUILD" --jobs="$GANQ_JOBS"
