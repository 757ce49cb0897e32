#!/usr/bin/env bash
# What a GPU can tell, on a machine with a GPU and without a network, in nine minutes:
#
#     OUT=benchmarks/results/NAME bash benchmarks/gpu_suite.sh          # all sections, in the order of their worth
#     OUT=... bash benchmarks/gpu_suite.sh steps                        # one alone
#     OUT=... bash benchmarks/gpu_suite.sh launches                     # only by name: where the time of a step goes
#
# It installs nothing: what xpnet imports must be importable by `python3` (benchmarks/gpu/wheels.sh fetches what a bare
# machine lacks). OUT gets results.jsonl, an item a line and on disk as soon as it is measured; summary.md and
# archive.tar.gz, written anew after each section; and the output of the section under way, running.log. A section that
# takes longer than its limit is ended, and the next one begins.
#
# DOUBLE=1 runs it on the double of CuPy, without a GPU: a rehearsal, whose times mean nothing. QUICK=1 takes a small part
# of each section, and LIMIT=300 is the limit of each in seconds.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
OUT=${OUT:-benchmarks/results/gpu}
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 2
if [ -e "$OUT/results.jsonl" ] && [ $# -eq 0 ]; then
    echo "OUT: expected a folder without results; received $OUT. Choose another, or name the sections to add." >&2
    exit 2
fi
work=$(mktemp -d) running=
trap 'rm -rf "$work"' EXIT
# `timeout` has a process group of its own, which Ctrl-C does not reach.
trap '[ -z "$running" ] || { kill "$running"; wait "$running"; }; exit 130' INT TERM
export PYTHONPATH="$root:$root/backends:$root/benchmarks/gpu${PYTHONPATH:+:$PYTHONPATH}"
export GPU_RESULTS="$OUT/results.jsonl"
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false # several processes share one GPU's memory
export CUPY_ACCELERATORS=                  # CUB's reductions take seconds to compile
export QUICK=${QUICK:-}
unset PYTEST_ADDOPTS PYTEST_XDIST_WORKER # the options of whoever runs it
python=(python3) options=()
if [ "${DOUBLE:-}" ]; then python=(python3 -m tests.cuda_double) options=(--cuda-double); fi

# What the sections do.
rungs=(tiny digits mnist-small mnist-large) wide=(wide) narrow=(narrow-1k narrow-64k)
checks=("device tiny" digits mnist-small mnist-large wide narrow-1k cases)
others=(torch-graph:gpu torch:gpu jax:gpu torch-compile:gpu) more=(eager:gpu jax-jit:gpu)
launched=(mnist-large mnist-large@tf32 wide@tf32 narrow-1k wide narrow-64k narrow-64k@tf32 narrow-1k@tf32)
folders=(tests/nn tests/backend tests/adapters tests/training tests/model tests/estimators tests/bench)
if [ "$QUICK" ]; then
    rungs=(tiny) wide=() others=() more=(eager:gpu) checks=("device tiny" cases) narrow=(tiny) launched=(tiny)
    folders=(tests/nn/test_counter_rng.py)
fi
ladder=("${python[@]}" benchmarks/gpu/ladder.py)

# A process each, for an error in a kernel ends all work of its process on the GPU, and with a limit, for a kernel may hang.
steps() {
    local each code limit
    for each in "${checks[@]}"; do
        code=0 limit=30
        [ "$each" = cases ] && limit=75
        # In the group of the section, of which `timeout` ends all.
        # shellcheck disable=SC2086 # words
        timeout --foreground --kill-after=3 "${LIMIT:-$limit}" "${python[@]}" benchmarks/gpu/steps.py $each || code=$?
        [ "$code" -eq 0 ] || printf '{"section": "%s", "item": "%s", "error": "exit code %d"}\n' \
            "$GPU_SECTION" "$each" "$code" >>"$GPU_RESULTS"
    done
}

# The peers that matter most first, and the workload that takes long to compile last.
peers() {
    local peer
    for peer in "${others[@]}"; do beside "$peer" 30 "${rungs[@]}"; done
    for peer in "${others[@]:0:1}" "${others[@]:2:1}"; do beside "$peer" 25 "${wide[@]}"; done
    for peer in "${more[@]}"; do beside "$peer" 30 "${rungs[@]}"; done
}

beside() { # PEER SECONDS WORKLOAD...
    [ $# -gt 2 ] || return 0
    timeout --foreground --kill-after=3 "${LIMIT:-$2}" "${ladder[@]}" --device gpu --peers "$1" "${@:3}"
}

tests() {
    local parallel=()
    python3 -c "import xdist" 2>/dev/null && parallel=(-n "${WORKERS:-8}")
    # A configuration of its own: the project's has options of plug-ins that may not be there, and libraries for GPUs warn
    # about one another.
    cat >"$work/pytest.ini" <<INI
[pytest]
addopts = --import-mode=importlib
filterwarnings =
    default
    error:::xpnet
    error::xpnet.errors.XpnetWarning
markers =
    slow
    subprocess
    gpu
    needs(library)
    timeout(seconds)
xfail_strict = true
INI
    python3 -m pytest -q -c "$work/pytest.ini" --rootdir "$root" -p no:cacheprovider -p pytest_items "${parallel[@]}" \
        "${options[@]}" --device cupy:gpu --continue-on-collection-errors --tb=short "${folders[@]}"
}

parity() {
    local device pids=()
    for device in gpu torch:gpu jax:gpu; do
        XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_autotune_level=0" \
            "${python[@]}" benchmarks/gpu/parity.py "$device" >"$work/parity-${device%%:*}.log" 2>&1 &
        pids+=($!)
    done
    wait "${pids[@]}"
}

rest() {
    "${python[@]}" benchmarks/gpu/steps.py "${narrow[@]}"
    "${ladder[@]}" --device gpu --device cpu "${rungs[@]}"
    "${ladder[@]}" --device gpu@tf32 --device gpu@bf16 "${rungs[@]}" "${wide[@]}"
    "${ladder[@]}" --device torch:gpu --device jax:gpu "${rungs[@]}"
}

# Where the time of a step goes, and what other ways of compiling it would take: for whoever changes the compiler.
launches() {
    local each
    for each in "${launched[@]}"; do
        timeout --foreground --kill-after=3 "${LIMIT:-20}" "${python[@]}" benchmarks/gpu/launches.py "$each"
    done
}

section() { # NAME SECONDS: run a section, record how it ended, write summary and archive anew
    local name=$1 limit=${LIMIT:-$2} started=$SECONDS code=0
    echo "== $name (at most $limit s)"
    export GPU_SECTION=$name
    # In a process group of its own, of which `timeout` ends all.
    timeout --signal=TERM --kill-after=3 "$limit" bash "$root/benchmarks/gpu_suite.sh" --within "$name" "$work" \
        >"$OUT/running.log" 2>&1 &
    running=$!
    wait "$running" || code=$?
    running=
    printf '{"section": "%s", "item": "end", "exit_code": %d, "seconds": %d, "limit": %d}\n' \
        "$name" "$code" "$((SECONDS - started))" "$limit" >>"$GPU_RESULTS"
    [ "$code" -eq 0 ] || { echo "   exit code $code:"; tail -n 5 "$OUT/running.log"; }
    cp "$OUT/running.log" "$work/$name.log"
    python3 benchmarks/gpu/summary.py "$OUT" || echo "   the summary could not be written"
    tar -C "$work" -czf "$OUT/archive.part" . && mv "$OUT/archive.part" "$OUT/archive.tar.gz"
}

if [ "${1:-}" = --within ]; then # the inner process, which does the work of a section
    trap - EXIT INT TERM
    work=$3
    "$2"
    exit
fi
declare -A limits=([steps]=125 [peers]=130 [tests]=70 [parity]=70 [rest]=105 [launches]=100)
[ $# -gt 0 ] || set -- steps peers tests parity rest
for name; do
    [ "${limits[$name]:-}" ] || { echo "no such section: $name; expected some of ${!limits[*]}." >&2; exit 2; }
done
for name; do section "$name" "${limits[$name]}"; done
rm -f "$OUT/running.log"
echo "== $OUT/summary.md"
