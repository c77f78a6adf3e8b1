#!/bin/bash
# From an ONNX file to text: builds ganq, compiles the model of models/demo in
# full precision and quantized to 4 bits in two ways, lets it write, and prints
# what quantization cost and saved. What is up to date is not made again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

work="$GANQ_ROOT/build/demo"
model="$GANQ_ROOT/models/demo"

# newer TARGET SOURCE...: TARGET is there and no source is newer.
newer() {
  local target="$1" source
  shift
  [[ -f "$target" ]] || return 1
  for source in "$@"; do
    [[ "$source" -nt "$target" ]] && return 1
  done
  return 0
}

# compile NAME OPTION...: compiles the model into build/demo/NAME.ganq.
compile() {
  local output="$work/$1.ganq"
  shift
  newer "$output" "$model/model.onnx" "$work/calibration.npy" "$GANQ_BUILD/bin/ganq-compile" && return 0
  ganq_say "ganq-compile models/demo/model.onnx -o build/demo/${output##*/} $*"
  "$GANQ_BUILD/bin/ganq-compile" "$model/model.onnx" -o "$output" "$@"
}

ganq_setup
ganq_build ganq-compile ganq-run ganq_runtime_shared

mkdir -p "$work"
newer "$work/heldout.npy" "$model/tokenizer.json" "$GANQ_ROOT/scripts/"{make_tokens,story_corpus,story_words}.py || {
  ganq_say "making calibration and held-out tokens"
  "$GANQ_VENV/bin/python" "$GANQ_ROOT/scripts/make_tokens.py" "$model/tokenizer.json" "$work"
}
cp -u "$model/tokenizer.json" "$work/tokenizer.json"

compile fp32 --scheme=none
compile lut4 --scheme=lut --bits=4 --calibration="$work/calibration.npy"
compile uniform4 --scheme=uniform --bits=4 --solver=rtn

exec "$GANQ_VENV/bin/python" "$GANQ_ROOT/scripts/demo_report.py" --build="$GANQ_BUILD" "$work"
