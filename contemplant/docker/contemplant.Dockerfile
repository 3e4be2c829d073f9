# The Contemplant itself, built from the repository's root:
#
#   docker build -f contemplant/docker/contemplant.Dockerfile -t contemplant .
#
# To run prover servers in Docker from inside a container it needs the engine's socket, and a data folder
# that has the same path inside and outside, since the engine mounts folders of the host; see docs/gpu.md.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo xtask setup && cargo build --release --bin contemplant

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/release/contemplant /usr/local/bin/
WORKDIR /var/lib/contemplant
ENTRYPOINT ["/usr/local/bin/contemplant"]
