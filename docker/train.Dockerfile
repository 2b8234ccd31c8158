# The trainer's image.
#     docker build -f docker/train.Dockerfile -t matrix-11k:0.1.0-train .
# Base and package index: as in pipeline.Dockerfile. torch's wheels bring CUDA, the driver is the host's.
ARG BASE=nvidia/cuda:13.2.1-base-ubuntu24.04

FROM ${BASE} AS train
ARG EXTRAS="s3 train"
ENV PATH=/opt/venv/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# Triton compiles its launchers with gcc against Python's headers, at run time (`model.compile`).
RUN --mount=type=bind,source=docker/system.sh,target=/mnt/system.sh bash /mnt/system.sh gcc libc6-dev python3-dev
COPY pyproject.toml constraints.txt ./
RUN --mount=type=bind,source=docker/install.sh,target=/mnt/install.sh \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    bash /mnt/install.sh ${EXTRAS}
COPY . .
RUN uv pip install --no-cache --offline --python /opt/venv/bin/python --no-build-isolation --no-deps -e . \
 && python -m compileall -q . && rm -f /tmp/*.lock
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "docker/health.py", "http://127.0.0.1:8080/health"]
CMD ["matrix_train", "--help"]
