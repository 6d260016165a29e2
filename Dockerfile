# Both images and the module proxy can come from a mirror, and the images by digest
# (golang:1.26@sha256:...), which Renovate adds here:
#   docker build --build-arg BUILD_IMAGE=... --build-arg BASE_IMAGE=... --build-arg GOPROXY=...
ARG BUILD_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static:nonroot

# On the builder's own platform: Go cross-compiles, which is faster than emulation.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG TARGETOS
ARG TARGETARCH
# Go's own default unless it is given.
ARG GOPROXY
# What the binary calls itself.
ARG VERSION
WORKDIR /src

# Before the sources, so that a change of code downloads nothing again.
COPY go.mod go.sum ./
RUN go mod download

COPY main.go ./
COPY api/ api/
COPY config/crd/ config/crd/
COPY controllers/ controllers/
COPY internal/ internal/
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false -ldflags="-s -w -X github.com/sgp-operator/sgp-operator/internal/version.stamped=${VERSION}" -o /out/manager .

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="sgp-operator" \
      org.opencontainers.image.description="Keeps the inner access policy of Alibaba Cloud ECS security groups as declared" \
      org.opencontainers.image.source="https://github.com/sgp-operator/sgp-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/manager /manager
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/manager"]
