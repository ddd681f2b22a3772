# One image for every environment: what differs between them comes in as settings (docs/settings.md).
# Why it is as it is: docs/decisions/0009-read-only-image.md.

# The tag stops at the minor version, so that a rebuild takes patches; the digest makes it this very image.
# checkov:skip=CKV_DOCKER_2: no HEALTHCHECK, for the reason at its place below
# checkov:skip=CKV_DOCKER_7: the tag and the digest are in BASE; checkov does not look there
ARG BASE=docker.io/library/python:3.14-slim-trixie@sha256:51dafde81dbdb6ebde285137a295cf18a47ca95234fe388a343719cb97305b3d

FROM ${BASE} AS build
WORKDIR /build
RUN python3 -m venv --without-pip /app && python3 -m venv pip
COPY requirements.txt ./
# Wheels only: nothing is compiled here, and nothing runs that a package brings for its build.
RUN pip/bin/python -m pip --python /app/bin/python install \
      --no-cache-dir --no-compile --only-binary :all: --require-hashes --requirement requirements.txt
COPY service /app/service
# Byte code that trusts its source needs no look at it at start, and holds no time of a build.
RUN find /app -depth -type d \( -name __pycache__ \
      -o -path '*/site-packages/*/test' -o -path '*/site-packages/*/tests' \) -exec rm -rf {} + \
 && chmod -R u=rwX,go=rX /app \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app/lib /app/service

FROM ${BASE}
# What the base brings and nobody needs here: programs that run as their owner, and the way to install more.
# The standard library's byte code is made, because the base comes without it and nothing can be written at run time.
RUN find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && find / -xdev -depth \( -path '*-packages/pip' -o -path '*-packages/pip-*' -o -path '/usr/local/bin/pip*' \
      -o -path '*/python3*/ensurepip' -o -path '*/python-wheels' \) -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash \
      -x '/(test|idlelib|tkinter|turtledemo|pydoc_data|lib2to3|site-packages|dist-packages)/' \
      "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"
COPY --from=build /app /app
ENV PATH=/app/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
ARG VERSION=0+unknown
ARG REVISION=unknown
ARG SOURCE=unknown
# What can't be imported is no image. And podman's cache asks for the arguments' values at a RUN only: without one here,
# LABEL and ENV below would be those of an earlier build.
RUN python -c "import service.__main__"
LABEL org.opencontainers.image.title="seatrial" \
      org.opencontainers.image.description="A small service that shows how a container is operated" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
ENV VERSION=${VERSION} \
    REVISION=${REVISION}
# A number: Kubernetes can tell that it is not root (runAsNonRoot). Any other number serves as well.
USER 10001:10001
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# No HEALTHCHECK: who runs it asks /health and /ready, and a program started for each check would cost more than that.
# Exec form: the service is process 1 itself, and gets the signal.
ENTRYPOINT ["python", "-m", "service"]
