#!/usr/bin/env bash
# Fetch the wheels that xpnet and its tests need and that a machine with CuPy, PyTorch, JAX and scikit-learn may lack, for
# Python 3.12 on Linux (x86-64): bash benchmarks/gpu/wheels.sh FOLDER. On that machine:
#
#     python3 -m pip install --no-index --no-deps --upgrade --target SITE FOLDER/*.whl && export PYTHONPATH=SITE
set -euo pipefail
wheels=${1:?expected a folder for the wheels}
most_megabytes=48 # beside the repository
platforms=()
for each in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${each}_x86_64")
done
# What pyproject.toml requires, and what that requires in turn; the oldest pyarrow, which is the smallest.
names=(
    array-api-compat cyclopts attrs docstring-parser rich rich-rst docutils markdown-it-py mdurl pygments
    narwhals platformdirs pyarrow==17.* safetensors tomli-w
)
# What the tests require.
names+=(array-api-strict hypothesis sortedcontainers pytest-timeout pytest-xdist execnet)
mkdir -p "$wheels"
rm -f "$wheels"/*.whl
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp "${platforms[@]}" --dest "$wheels" "${names[@]}"
count=$(find "$wheels" -name '*.whl' -type f | wc -l)
if [ "$count" -ne "${#names[@]}" ]; then
    echo "wheels: expected ${#names[@]} files, one for each package; found $count." >&2
    exit 1
fi
megabytes=$(du -sm "$wheels" | cut -f1)
if [ "$megabytes" -gt "$most_megabytes" ]; then
    echo "wheels: expected at most $most_megabytes MB; found $megabytes." >&2
    exit 1
fi
echo "$count wheels, $megabytes MB, in $wheels"
