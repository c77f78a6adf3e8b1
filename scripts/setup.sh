#!/bin/bash
# Installs what ganq needs and builds it. Meant to be sourced:
#
#   source scripts/setup.sh
#   ganq_setup            packages, virtual environment, configured build tree
#   ganq_build [TARGET..] builds the targets (default: all)
#
# Variables: GANQ_JOBS (parallel jobs, default: all processors), GANQ_PRESET
# (CMake preset, default: release), GANQ_PYTHON (interpreter of the virtual
# environment, default: /usr/bin/python3). What is there already is left alone,
# so a second run does nothing. Run as a program, it does the set-up and stops.

GANQ_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
GANQ_PRESET="${GANQ_PRESET:-release}"
GANQ_BUILD="$GANQ_ROOT/build/$GANQ_PRESET"
GANQ_VENV="$GANQ_ROOT/build/venv"
GANQ_JOBS="${GANQ_JOBS:-$(nproc)}"

GANQ_PACKAGES=(
  clang-22 lld-22 llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools
  clang-format-22 clang-tidy-22 g++ ccache cmake ninja-build
  libonnx-dev libonnx-testdata libprotobuf-dev protobuf-compiler
  libopenblas-dev liblapacke-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev libbenchmark-dev valgrind
  python3 python3-venv libzstd-dev zlib1g-dev git
)

ganq_say() { printf '== %s\n' "$*" >&2; }

ganq_fail() {
  printf 'error: %s\n' "$*" >&2
  return 1
}

# Installs the Debian packages that are missing.
ganq_packages() {
  local missing=() package root=()
  for package in "${GANQ_PACKAGES[@]}"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
      missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    command -v sudo >/dev/null || {
      ganq_fail "expected root or sudo to install packages, but got neither; install: ${missing[*]}"
      return 1
    }
    root=(sudo)
  fi
  ganq_say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  "${root[@]}" apt-get update -q >&2 || true
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
    --no-install-recommends "${missing[@]}" >&2 </dev/null ||
    ganq_fail "expected apt-get to install the packages, but it failed; LLVM 22 comes from Debian 12's bookworm-security archive: see that it is among the apt sources"
}

# Makes the virtual environment, with the ganq package of this checkout.
ganq_venv() {
  local python="${GANQ_PYTHON:-/usr/bin/python3}" stamp
  [[ -x "$python" ]] || python="$(command -v python3)"
  stamp="$(cat "$GANQ_ROOT/scripts/requirements.txt" "$GANQ_ROOT/python/pyproject.toml" | sha256sum)"
  [[ -x "$GANQ_VENV/bin/ganq" && "$(cat "$GANQ_VENV/stamp" 2>/dev/null)" == "$stamp" ]] && return 0
  ganq_say "making the Python environment in build/venv"
  [[ -x "$GANQ_VENV/bin/python" ]] || "$python" -m venv "$GANQ_VENV" || return 1
  "$GANQ_VENV/bin/python" -m pip install -q --disable-pip-version-check \
    -r "$GANQ_ROOT/scripts/requirements.txt" >&2 </dev/null &&
    "$GANQ_VENV/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
      --no-build-isolation -e "$GANQ_ROOT/python" >&2 </dev/null ||
    { ganq_fail "expected pip to fill build/venv, but it failed"; return 1; }
  printf '%s\n' "$stamp" >"$GANQ_VENV/stamp"
}

# Configures the build tree once; afterwards Ninja configures it when needed.
ganq_configure() {
  [[ -f "$GANQ_BUILD/build.ninja" ]] && return 0
  ganq_say "configuring build/$GANQ_PRESET"
  (cd "$GANQ_ROOT" && cmake --preset "$GANQ_PRESET" >&2)
}

ganq_setup() {
  ganq_packages && ganq_venv && ganq_configure
}

ganq_build() {
  ganq_say "building build/$GANQ_PRESET with $GANQ_JOBS jobs"
  ninja -C "$GANQ_BUILD" -j "$GANQ_JOBS" "$@" >&2
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  set -euo pipefail
  ganq_setup
fi
