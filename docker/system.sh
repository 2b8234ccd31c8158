#!/usr/bin/env bash
# What every image needs of its base: libraries, a user, folders. Run as root at build. Arguments: more Debian packages.
set -euo pipefail
packages=(ca-certificates libgl1 libglib2.0-0 "$@")   # OpenCV loads the two libraries
# A base with a Python of its own (python:3.11-slim) keeps it; Debian and Ubuntu bring theirs.
python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || packages+=(python3 python3-venv)
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
rm -rf /var/lib/apt/lists/*
useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin matrix
# A named volume takes owner and mode of the folder that it is first mounted over.
install -d -o matrix -g matrix /data /models /objects
