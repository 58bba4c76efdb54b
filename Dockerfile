# The operator's image: the binary and, beside it, the helm it runs. Small base, not root, read-only root file system.
#
# Everything built in here:
#   docker build -t meshlift-operator .
# With binaries built before (no registry and no compiler needed; this is what the demo and the tests do):
#   buildah bud --target prebuilt --build-arg RUNTIME_BASE=... -f Dockerfile DIRECTORY-WITH-THE-TWO-BINARIES
ARG BUILD_BASE=docker.io/library/rust:1.95-bookworm
ARG HELM_BASE=docker.io/library/golang:1.26-bookworm
# glibc, libgcc and the CA certificates; no shell.
ARG RUNTIME_BASE=gcr.io/distroless/cc-debian12

FROM ${RUNTIME_BASE} AS runtime
# Helm writes caches and locks; /tmp is the one place that a pod with a read-only root gives it.
ENV HOME=/tmp \
    HELM_CACHE_HOME=/tmp/helm/cache \
    HELM_CONFIG_HOME=/tmp/helm/config \
    HELM_DATA_HOME=/tmp/helm/data \
    PATH=/usr/local/bin:/usr/bin:/bin
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/meshlift-operator"]

FROM runtime AS prebuilt
COPY --chmod=0755 meshlift-operator helm /usr/local/bin/

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package meshlift-operator

FROM ${HELM_BASE} AS helm
WORKDIR /src
COPY crates/testbed/pins/helm/ .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /helm helm.sh/helm/v4/cmd/helm

FROM runtime
COPY --from=build --chmod=0755 /src/target/release/meshlift-operator /usr/local/bin/
COPY --from=helm --chmod=0755 /helm /usr/local/bin/helm
