# Images of the pipeline. `cpu`: Prefect's server and services, CPU workers. `gpu`: workers with the real models.
#     docker build -f docker/pipeline.Dockerfile --target cpu -t matrix-11k:0.1.0-cpu .
# The two differ in base and extras alone. A base is Debian or Ubuntu; it may bring a Python of its own, from 3.11 on.
# A package index of your own comes in as build secrets (docs/docker.md): no layer holds it.
ARG CPU_BASE=python:3.11.15-slim-bookworm
ARG GPU_BASE=nvidia/cuda:13.2.1-base-ubuntu24.04

FROM ${CPU_BASE} AS cpu
ARG CPU_EXTRAS="server s3"
ENV PATH=/opt/venv/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
RUN --mount=type=bind,source=docker/system.sh,target=/mnt/system.sh bash /mnt/system.sh
COPY pyproject.toml constraints.txt ./
RUN --mount=type=bind,source=docker/install.sh,target=/mnt/install.sh \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    bash /mnt/install.sh ${CPU_EXTRAS}
COPY . .
RUN uv pip install --no-cache --offline --python /opt/venv/bin/python --no-build-isolation --no-deps -e . \
 && python -m compileall -q . && rm -f /tmp/*.lock
USER 10001:10001
# A worker's own answer whether it still asks the server for work; compose.yaml has the checks of the other services.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "docker/health.py", "http://127.0.0.1:8080/health"]
CMD ["matrix_data", "--help"]

FROM ${GPU_BASE} AS gpu
ARG GPU_EXTRAS="s3 models"
ENV PATH=/opt/venv/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
RUN --mount=type=bind,source=docker/system.sh,target=/mnt/system.sh bash /mnt/system.sh
COPY pyproject.toml constraints.txt ./
RUN --mount=type=bind,source=docker/install.sh,target=/mnt/install.sh \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    FIRST="torch torchvision" bash /mnt/install.sh ${GPU_EXTRAS}
COPY . .
RUN uv pip install --no-cache --offline --python /opt/venv/bin/python --no-build-isolation --no-deps -e . \
 && python -m compileall -q . && rm -f /tmp/*.lock
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "docker/health.py", "http://127.0.0.1:8080/health"]
CMD ["matrix_data", "--help"]
