# The image of testum. One program: what a container is, its command says (serve, worker, db upgrade ...).
#
# For a build that gives the same tomorrow, name the base by its digest, which
# `docker buildx imagetools inspect python:3.11-slim-bookworm` prints:
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:... -t testum .
ARG BASE=python:3.11-slim-bookworm

# -- what is needed to build stays in this stage -----------------------------------------------------
FROM ${BASE} AS build
# Where pip finds packages, if not at its default; their hashes are in the locks all the same.
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Two environments: the tools with pip, and what goes into the image, without.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/testum
COPY requirements.lock requirements-build.lock ./
RUN tools/bin/pip install --no-compile --require-hashes -r requirements-build.lock \
 && tools/bin/pip --python /opt/testum/bin/python install --no-compile --require-hashes -r requirements.lock
COPY . .
# The web interface is built where it has not been; for that, Node comes from a package.
RUN tools/bin/python hatch_build.py built || tools/bin/python hatch_build.py node || tools/bin/pip install --require-hashes -r requirements-node.lock
# A wheel, and not a link to the sources: its build hooks run, and only what it holds gets into the image.
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && tools/bin/pip --python /opt/testum/bin/python install --no-compile --no-deps dist/*.whl \
# Byte code could not be written later: without it every start would compile everything anew.
 && /opt/testum/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/testum/lib

# -- the image --------------------------------------------------------------------------------------
FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="testum" \
      org.opencontainers.image.description="Run commands, scripts and procedures on any number of SSH hosts, without an agent" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# By number, so that whoever only allows non-root users can see that it is none.
RUN echo 'testum:x:10001:10001:testum:/data:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'testum:x:10001:' >> /etc/group \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/testum /opt/testum
ENV PATH=/opt/testum/bin:$PATH DATA_DIR=/data LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["testum", "health"]
ENTRYPOINT ["testum"]
CMD ["serve", "--host", "0.0.0.0"]
