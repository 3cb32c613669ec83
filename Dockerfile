# syntax=docker/dockerfile:1
# One image for all programs: portcullis-gateway (what it starts), portcullis-coordinator, and what else they build.
#
#   docker build -t portcullis:0.1.0 .
#   docker run --rm portcullis:0.1.0 --version
#
# The last stage holds glibc, libgcc, certificate authorities and the programs: no shell, no package manager, no root.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# what is copied is listed in .dockerignore
COPY . .
# the caches stay with the builder: neither sources of dependencies nor objects are in a layer
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --release --bins --package portcullis-gateway --package portcullis-coordinator \
    && install -d -m 0755 /out/etc/portcullis /out/usr/local/bin \
    && find target/release -maxdepth 1 -type f -perm /111 \
      -exec install --strip -m 0755 -t /out/usr/local/bin {} +

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="WebSocket security gateway, its coordinator and its command line" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /
# the number, so that a platform can see without a look into the image that it is not root
USER 65532:65532
WORKDIR /etc/portcullis
# clients; the private port (health and metrics) is for the platform only
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["/usr/local/bin/portcullis-gateway", "health", "--config", "/etc/portcullis/portcullis.toml"]
ENTRYPOINT ["/usr/local/bin/portcullis-gateway"]
CMD ["run", "--config", "/etc/portcullis/portcullis.toml"]
