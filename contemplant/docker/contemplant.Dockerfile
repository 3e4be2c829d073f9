# The Contemplant itself, built from the repository's root:
#
#   docker build -f contemplant/docker/contemplant.Dockerfile -t contemplant .
#
# It needs no capability and no place to write to, except for its data folder and a /tmp whose files may be executed, and
# 16 GB of shared memory (`--shm-size`): deploy/docker/compose.yml. For GPUs see docs/gpu.md.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# One build for every x86-64 processor, and one for those of the last ten years, which proves in half of the processor
# time. The first starts the second where it can run.
RUN cargo xtask setup \
    && RUSTFLAGS="-C target-cpu=x86-64" cargo build --release --package contemplant \
    && RUSTFLAGS="-C target-cpu=x86-64-v3" cargo build --release --package contemplant --target-dir target/v3

FROM debian:bookworm-slim
# tini ends the orphans of killed executions, which only the first process of a container can do.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 contemplant \
    && useradd --system --uid 10001 --gid contemplant --home-dir /var/lib/contemplant --create-home contemplant
COPY --from=build /source/target/release/contemplant /usr/local/bin/
COPY --from=build /source/target/v3/release/contemplant /usr/local/bin/contemplant-x86-64-v3
USER 10001:10001
WORKDIR /var/lib/contemplant
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/contemplant"]
