# The front end: no torch.
FROM python:3.12-slim
WORKDIR /srv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY workers/__init__.py workers/__init__.py
RUN pip install --no-cache-dir -c constraints.txt . && useradd --uid 10001 --create-home rise \
  && mkdir /data && chown rise /data
USER rise
# MALLOC_ARENA_MAX: glibc would keep what many threads have decoded, one arena for each.
ENV RISE_HOST=0.0.0.0 RISE_DATA=/data MALLOC_ARENA_MAX=2
EXPOSE 8000
CMD ["rise-serve", "api"]
