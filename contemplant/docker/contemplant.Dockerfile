# The Contemplant itself, built from the repository's root:
#
#   docker build -f contemplant/docker/contemplant.Dockerfile -t contemplant .
#
# To run prover servers in Docker from inside a container it needs the engine's socket, and a data folder
# that has the same path inside and outside, since the engine mounts folders of the host, and the socket's group
# (`--group-add`); see docs/gpu.md. It needs no capability and no other place to write to: deploy/docker/compose.yml.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo xtask setup && cargo build --release --package contemplant

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/contemplant --create-home contemplant
COPY --from=build /source/target/release/contemplant /usr/local/bin/
USER 10001:10001
WORKDIR /var/lib/contemplant
ENTRYPOINT ["/usr/local/bin/contemplant"]
