# syntax=docker/dockerfile:1
# The front end and the sender of callbacks: no torch. About 320 MB, 130 of which are the base.
# The base is pinned by its tag. Where images are built for others, pin what was tested by digest:
#   docker build -f docker/app.Dockerfile --build-arg BASE=python:3.11-slim-bookworm@sha256:... .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# What the service needs comes before the service: a change of code leaves this layer as it is.
COPY pyproject.toml constraints.txt ./
COPY rise_client rise_client
RUN --mount=type=cache,target=/root/.cache/pip \
  mkdir app && touch app/__init__.py README.md LICENSE \
  && pip install --constraint constraints.txt ./rise_client '.[traces]'
COPY README.md LICENSE ./
COPY app app
RUN --mount=type=cache,target=/root/.cache/pip \
  pip install --no-deps --force-reinstall . && pip uninstall --yes setuptools pip

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rise-serve front end" \
  org.opencontainers.image.description="Explains image models with black-box saliency maps, over HTTP." \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
# tini: passes signals on, also before Python has set its handlers. Debian keeps one version of it at a time.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends tini \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp rise \
  && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv
USER 10001:10001
# HOME: the root file system may be read-only, /tmp is not. MALLOC_ARENA_MAX: glibc would keep what many threads have
# decoded, one arena for each. OPENBLAS_NUM_THREADS: maps are drawn in several threads, and a busy core delays all of
# OpenBLAS's.
ENV PATH=/opt/venv/bin:$PATH \
  HOME=/tmp \
  PYTHONUNBUFFERED=1 \
  PYTHONDONTWRITEBYTECODE=1 \
  MALLOC_ARENA_MAX=2 \
  OPENBLAS_NUM_THREADS=1 \
  RISE_HOST=0.0.0.0 \
  RISE_DATA=/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 CMD ["python", "-m", "app.cli.healthcheck", "api"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["rise-serve", "api"]
