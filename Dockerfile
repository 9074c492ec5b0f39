# The image the chart runs: every part is the same program, `strongroom`, with other arguments.

FROM debian:forky-slim AS restic
RUN apt-get update && apt-get install --yes --no-install-recommends restic && restic version

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY requirements/build.txt requirements/production.txt requirements/
# Packages first: this layer stays as long as the locks do.
RUN python -m venv /opt/strongroom \
    && python -m venv /opt/build \
    && /opt/strongroom/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements/production.txt \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements/build.txt
COPY pyproject.toml ./
COPY platform platform
COPY backup backup
COPY restore restore
COPY tenants tenants
COPY web web
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/strongroom/bin/pip install --no-deps --no-index /wheels/strongroom-*.whl

FROM python:3.11-slim-bookworm
# With an entry in passwd: PostgreSQL's programs refuse an account without a name.
RUN groupadd --gid 10001 strongroom \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin strongroom
COPY --from=restic /usr/bin/restic /usr/local/bin/restic
COPY --from=build /opt/strongroom /opt/strongroom
ENV PATH=/opt/strongroom/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["strongroom"]
