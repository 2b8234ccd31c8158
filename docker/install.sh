#!/usr/bin/env bash
# The pinned packages into /opt/venv. Run in /app at build. Arguments: extras of pyproject.toml.
# FIRST names what must be there before the rest is built: sam2 is built against the torch that is installed.
set -euo pipefail
python3 -m venv /opt/venv
/opt/venv/bin/pip install --no-cache-dir --quiet -c constraints.txt uv
install() { /opt/venv/bin/uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python -c constraints.txt "$@"; }
# shellcheck disable=SC2086  # a list
install setuptools wheel ${FIRST:-}
extras=()
for extra in "$@"; do extras+=(--extra "$extra"); done
SAM2_BUILD_CUDA=0 install --no-build-isolation-package sam2 -r pyproject.toml "${extras[@]}"
