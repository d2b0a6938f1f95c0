# The image contains `migrate` with all extras. Mount the project folder (migrate.toml, mappings/, schema/) at /work:
#   docker run --rm -it -v "$PWD:/work" mongo-to-postgres plan

# This image has a C compiler, which the next one does not need.
FROM python:3.13-bookworm AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/migrate \
    && /opt/migrate/bin/pip install --no-cache-dir '.[dask,files,local]'

FROM python:3.13-slim-bookworm
RUN useradd --create-home --uid 10001 migrate \
    && mkdir /work \
    && chown 10001 /work
COPY --from=build /opt/migrate /opt/migrate
ENV PATH=/opt/migrate/bin:$PATH
WORKDIR /work
USER 10001
ENTRYPOINT ["migrate"]
CMD ["--help"]
