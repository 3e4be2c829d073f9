# The Contemplant itself, built from the repository's root:
#
#   docker build -f contemplant/docker/contemplant.Dockerfile -t contemplant .
#
# It needs no capability and no place to write to, except for its data folder and a /tmp whose files may be executed, and
# 16 GB of shared memory (`--shm-size`): deploy/docker/compose.yml. For GPUs see docs/gpu.md.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo xtask setup && cargo build --release --package contemplant

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 contemplant \
    && useradd --system --uid 10001 --gid contemplant --home-dir /var/lib/contemplant --create-home contemplant
COPY --from=build /source/target/release/contemplant /usr/local/bin/
USER 10001:10001
WORKDIR /var/lib/contemplant
ENTRYPOINT ["/usr/local/bin/contemplant"]
