#!/usr/bin/env bash
# Parity, the tests and the bench on a machine with a GPU, in one call of less than nine minutes and without a network:
#
#     OUT=benchmarks/results/NAME bash benchmarks/gpu_suite.sh
#
# It installs nothing: what xpnet imports must be importable by `python3`, or from folders on PYTHONPATH. Each section has a
# time limit of its own; one that fails is recorded, the rest goes on, and the summary is written anew after each. Without
# a GPU it runs through, and the rows of the GPU say "no device" with the reason. QUICK=1 takes a small part of each
# section. DEVICES, PEERS, WORKLOADS and TESTS choose others, separated by spaces. PATIENCE=10 makes the limits ten times as
# long, for a busy machine.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
OUT=${OUT:-benchmarks/results/gpu}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
if [ -e "$OUT/sections.tsv" ]; then
    echo "OUT: expected a folder without results; received $OUT. Choose another." >&2
    exit 2
fi
export PYTHONPATH="$root:$root/backends${PYTHONPATH:+:$PYTHONPATH}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false # three libraries share one GPU's memory
export PYTHONDONTWRITEBYTECODE=1
unset PYTEST_ADDOPTS # the options of whoever runs it

if [ "${QUICK:-}" ]; then
    quick=(--quick --rounds 1) epochs=1 data=iris
    default_workloads="tiny" default_tests="tests/nn/test_counter_rng.py"
else
    quick=(--rounds 5) epochs=3 data=digits
    default_workloads="tiny digits mnist-small narrow-1k mnist-large wide narrow-64k" default_tests="tests"
fi
read -ra workloads <<<"${WORKLOADS:-$default_workloads}"
read -ra tests <<<"${TESTS:-$default_tests}"
read -ra devices <<<"${DEVICES:-gpu torch:gpu jax:gpu gpu@tf32 cpu}"
peers=$(tr ' ' ',' <<<"${PEERS:-eager:gpu torch:gpu torch-compile:gpu torch-graph:gpu jax:gpu jax-jit:gpu}")

section() { # NAME SECONDS COMMAND...: run it, record how it ended, write the summary anew
    local name=$1 limit=$(($2 * ${PATIENCE:-1})) started=$SECONDS code=0
    shift 2
    echo "== $name (at most $limit s)"
    timeout --signal=INT --kill-after=3 "$limit" "$@" >"$OUT/$name.log" 2>&1 || code=$?
    printf '%s\t%s\t%s\n' "$name" "$code" "$((SECONDS - started))" >>"$OUT/sections.tsv"
    python3 "$root/benchmarks/gpu_summary.py" "$OUT" || echo "   the summary could not be written"
    [ "$code" -eq 0 ] || { echo "   exit code $code:"; tail -n 5 "$OUT/$name.log"; }
}

# A configuration of its own: the project's has options of plug-ins that may not be there.
cat >"$OUT/pytest.ini" <<INI
[pytest]
addopts = --import-mode=importlib
filterwarnings = error
markers =
    slow
    subprocess
    gpu
    needs(library)
    timeout(seconds)
xfail_strict = true
junit_family = xunit1
INI

section devices 20 python3 -m xpnet devices
section parity 100 python3 -m xpnet parity "$data" --epochs "$epochs" --devices cpu,gpu,torch:gpu,jax:gpu --out "$OUT/parity"
section tests 100 python3 -m pytest -q -c "$OUT/pytest.ini" --rootdir "$root" -p no:cacheprovider --device gpu \
    --continue-on-collection-errors --junitxml "$OUT/tests.xml" "${tests[@]}"
for workload in "${workloads[@]}"; do
    section "bench-$workload" 42 python3 -m xpnet bench "$workload" "${quick[@]}" "${devices[@]/#/--device=}" \
        ${peers:+--peers "$peers"} --out "$OUT/bench-$workload"
done
rm -f "$OUT/pytest.ini"
echo "== $OUT/summary.md"
