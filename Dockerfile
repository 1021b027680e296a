# syntax=docker/dockerfile:1
# One image per service: docker build --build-arg SERVICE=ledger --tag satreel-ledger .
# SERVICE is a folder of services/, or `gateway`. PYTHON_DIGEST pins the base image: sha256:….
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG PYTHON_DIGEST=
ARG PYTHON=${PYTHON_IMAGE}${PYTHON_DIGEST:+@}${PYTHON_DIGEST}

# The generated code needs the development tools, which no service does.
FROM ${PYTHON} AS contracts
WORKDIR /build
COPY requirements.txt .
RUN python -m venv /tools && /tools/bin/pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --only-binary :all: --require-hashes --requirement requirements.txt
COPY tools/protogen.py tools/
COPY protos protos
RUN /tools/bin/python tools/protogen.py

# What pages load, GraphiQL's and that of REST, out of npm's packages by checksum.
FROM contracts AS pages
COPY graphql_gateway/edge/graphiql.py graphql_gateway/edge/
COPY tools/graphiql.py tools/npm.py tools/openapi_page.py tools/
RUN PYTHONPATH=/build /tools/bin/python -m tools.graphiql && PYTHONPATH=/build /tools/bin/python -m tools.openapi_page \
    && ls .satreel/graphiql .satreel/openapi-page

FROM ${PYTHON} AS packages
WORKDIR /build
COPY requirements-runtime.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --only-binary :all: --require-hashes --requirement requirements-runtime.txt \
    && /venv/bin/pip check && /venv/bin/pip uninstall --yes --quiet pip setuptools \
    && printf '/app\n/app/gen\n' > "$(/venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/satreel.pth"

# The service's own folder, and what every service stands on; no other service.
FROM ${PYTHON} AS code
ARG SERVICE
WORKDIR /source
COPY services services
COPY graphql_gateway graphql_gateway
COPY topology/edge/openapi.json edge/
COPY topology/edge/page edge/page
COPY --from=pages /build/.satreel pages
WORKDIR /app
COPY mesh mesh
COPY --from=contracts /build/gen gen
# The edge takes contracts, their description and its page out of the gateway's image (k8s/base/edge).
RUN set -eu; \
    case "${SERVICE:?say --build-arg SERVICE=...}" in \
        gateway) module=graphql_gateway; cp -r /source/graphql_gateway . ; \
            cp -r /source/edge edge; cp gen/descriptors.binpb edge/; \
            cp /source/pages/openapi-page/*/* edge/page/; cp -r /source/pages/graphiql graphiql ;; \
        *) module="services.$SERVICE"; mkdir services; cp /source/services/__init__.py services/; \
            cp -r "/source/services/$SERVICE" services/ ;; \
    esac; \
    printf '#!/bin/sh\nexec python -m %s "$@"\n' "$module" > start; chmod 755 start; \
    python -m compileall -q . ; find . -name '*.pyi' -delete

FROM ${PYTHON}
ARG SERVICE
LABEL org.opencontainers.image.title="satreel-${SERVICE}"
COPY --from=packages /venv /venv
COPY --from=code /app /app
# The root file system is read-only where this runs.
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 10001:10001
ENTRYPOINT ["/app/start"]
