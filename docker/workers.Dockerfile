# syntax=docker/dockerfile:1
# A worker: torch, models, no HTTP.
#
#   CPU     docker build -f docker/workers.Dockerfile -t rise-serve-workers:0.1.0 .
#   NVIDIA  docker build -f docker/workers.Dockerfile -t rise-serve-workers:0.1.0-cuda \
#             --build-arg TORCH_INDEX=https://pypi.org/simple --build-arg ONNXRUNTIME=onnxruntime-gpu==1.31.1 .
#
# PyPI's torch for Linux brings CUDA along, several gigabytes of it; the host needs NVIDIA's driver and container
# toolkit and nothing else. More loaders: --build-arg EXTRAS=workers,faces,onnx,traces,timm with --build-arg
# TORCH='torch torchvision', because torchvision must come from where torch comes from. `compile = true` in the models
# file needs a compiler: --build-arg PACKAGES='g++'.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH=torch
ARG EXTRAS=workers,faces,onnx,open-inference,http-labels,survey,traces
ARG ONNXRUNTIME=
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# The largest layer first, and alone on its index: nothing else may come from there.
COPY constraints.txt ./
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
  pip install --no-deps --index-url "${TORCH_INDEX}" --constraint constraints.txt ${TORCH}
COPY pyproject.toml ./
COPY rise_client rise_client
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
  mkdir app workers && touch app/__init__.py workers/__init__.py README.md LICENSE \
  && pip install --constraint constraints.txt ./rise_client ".[${EXTRAS}]" \
  && if [ -n "${ONNXRUNTIME}" ]; then \
    pip uninstall --yes onnxruntime && pip install --no-deps "${ONNXRUNTIME}"; \
  fi
COPY README.md LICENSE ./
COPY app app
COPY workers workers
RUN --mount=type=cache,target=/root/.cache/pip \
  pip install --no-deps --force-reinstall . && pip uninstall --yes pip

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG PACKAGES=
LABEL org.opencontainers.image.title="rise-serve worker" \
  org.opencontainers.image.description="Computes black-box saliency maps of image models." \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
  && apt-get install --yes --no-install-recommends tini ${PACKAGES} \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp rise \
  && install --directory --owner=10001 --group=10001 /data /cache
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv
# Mount a folder here: models.toml and the files that it names.
COPY workers/demo/models.toml models/models.toml
USER 10001:10001
# /cache: what hubs give and compilers make; worth a volume, because all of it can be had again but not quickly.
# OPENBLAS_THREAD_TIMEOUT: threads that wait for work on busy cores take them from the model (2**4 cycles, not 2**26).
ENV PATH=/opt/venv/bin:$PATH \
  HOME=/tmp \
  PYTHONUNBUFFERED=1 \
  PYTHONDONTWRITEBYTECODE=1 \
  OPENBLAS_THREAD_TIMEOUT=4 \
  XDG_CACHE_HOME=/cache \
  TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
  TRITON_CACHE_DIR=/cache/triton \
  RISE_MODELS=/srv/models/models.toml \
  RISE_DATA=/data
# A worker is announced before its models are loaded, so the start takes as long as importing torch.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "app.cli.healthcheck", "worker"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["rise-serve", "worker"]
