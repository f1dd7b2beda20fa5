# A worker: torch, models, no HTTP.
FROM python:3.12-slim
WORKDIR /srv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY workers workers
COPY docker/models.toml docker/models.toml
RUN pip install --no-cache-dir -c constraints.txt -e '.[workers,faces,onnx,open-inference,http-labels]' && useradd --uid 10001 --create-home rise \
  && mkdir /data && chown rise /data
USER rise
ENV RISE_DATA=/data
CMD ["rise-serve", "worker"]
