#!/bin/sh
# Wheels for `python -m benchmarks.gpu` on a machine that reaches no registry:
#
#     benchmarks/gpu_wheels.sh FOLDER [PYTHON]     # PYTHON: version on that machine, 3.12 by default
#
# That machine has torch with torchvision, transformers, peft and accelerate, and what these need; here are the rest of
# the import chain, in the versions of constraints.txt. There:
#
#     python3 -m pip install --no-index --no-deps --target /tmp/site FOLDER/*.whl && export PYTHONPATH=/tmp/site
#
# GroundingDINO's package also imports OpenCV and matplotlib, whose wheels would fill the limit: they must be there, or
# the part `detector` says that they are not. 64 MiB is what such a machine may take with the tree.
set -eu
folder=$1 version=${2:-3.12}
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
rm -f "$folder"/*.whl

pinned() {
  for name in "$@"; do grep "^$name==" "$here/constraints.txt"; done
}

platforms=
for glibc in 2_28 2_27 2_24 2_17; do platforms="$platforms --platform manylinux_${glibc}_x86_64"; done
# shellcheck disable=SC2046,SC2086
"$here/.venv/bin/python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder" \
  --python-version "$version" --implementation cp $platforms --platform manylinux2014_x86_64 \
  $(pinned diffusers importlib-metadata zipp requests urllib3 idna charset-normalizer certifi \
    httpx2 httpcore2 truststore pydantic pydantic-core annotated-types typing-inspection \
    av sentencepiece webdataset braceexpand pycocotools hydra-core omegaconf portalocker timm addict yapf platformdirs)
# Without wheels on the registry. Pure Python once no CUDA extension is wanted; their setup looks at torch.
# shellcheck disable=SC2046
SAM2_BUILD_CUDA=0 "$here/.venv/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" \
  $(pinned sam2 groundingdino-py antlr4-python3-runtime iopath)

cd "$here"
tree=$(git archive HEAD | wc -c)
wheels=$(cat "$folder"/*.whl | wc -c)
echo "$(ls "$folder" | wc -l) wheels of $((wheels / 1048576)) MiB, with the tree $(((wheels + tree) / 1048576)) of 64 MiB"
[ $((wheels + tree)) -le 67108864 ]
