#!/usr/bin/env bash
# Everything worth knowing on a machine with a CUDA device, within 9 minutes: correctness first, then speed.
#   benchmarks/on_device.sh [FOLDER]              results into FOLDER (default benchmarks/results)
#   benchmarks/on_device.sh --rehearse [FOLDER]   the same steps on the emulator, tiny sizes, no device
# Each step has its own time limit, and a failed step does not keep the later ones from running; the exit code is that of the worst.
set -uo pipefail
cd "$(dirname "$0")/.."
rehearse=0
if [ "${1:-}" = "--rehearse" ]; then rehearse=1; shift; fi
folder=${1:-benchmarks/results}
mkdir -p "$folder"
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
worst=0

step() {  # step NAME SECONDS COMMAND...
  local name=$1 limit=$2 began=$SECONDS code
  shift 2
  echo "== $name"
  timeout -k 5 "$limit" "$@" 2>&1 | tee "$folder/$name.log" | tail -n 25
  code=${PIPESTATUS[0]}
  echo "== $name: exit $code after $((SECONDS - began)) s"
  [ "$code" -gt "$worst" ] && worst=$code
  return 0
}

build_host() {
  command -v cmake >/dev/null || { echo "no cmake: the reference backend stands in for the CPU engine"; return 0; }
  local build
  build=$(mktemp -d)
  cmake -S . -B "$build" >/dev/null && cmake --build "$build" -j "$(nproc)" >/dev/null && cmake --install "$build" --prefix . >/dev/null
}

if [ "$rehearse" = 1 ]; then
  step parity 200 "$python" -m pytest -p no:cacheprovider tests/parity -k "cuda-emulated and (states or unit)" -W default
  step speed 100 "$python" -m benchmarks.gpu --shape TINY --device emulated --repeats 1 --out "$folder/gpu-rehearsal.json"
else
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
  [ -e upm_gpu/lib/libupm_host.so ] || build_host
  export UPM_REQUIRE_GPU=1
  step parity 120 "$python" -m pytest -p no:cacheprovider -m gpu tests/parity -W default
  step suite 180 "$python" -m pytest -p no:cacheprovider -m gpu tests/gpu -s -W default
  step speed-small 60 "$python" -m benchmarks.gpu --shape SMALL --out "$folder/gpu-small.json"
  step speed-target 170 "$python" -m benchmarks.gpu --shape TARGET --out "$folder/gpu-target.json"
fi
exit "$worst"
