# SP1's GPU prover server from source, as `contemplant` starts it for `backend = "cuda"`:
#
#   docker build -f contemplant/docker/prover-server.Dockerfile -t sp1-gpu-server:6.10.0 \
#     --build-arg CUDA_ARCHS=89 contemplant/docker
#
# It compiles for an hour or more. prover-server-release.Dockerfile takes SP1's released program instead. The version must
# be that of the Contemplant's SP1 (contemplant.toml, `docker.image`).

ARG CUDA=12.8.1
ARG GO=1.24
# Ubuntu 24.04 has an older Go than SP1 needs.
FROM golang:${GO} AS go

FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS build
ARG RUST=1.95.0
ARG SP1=6.10.0
# Architectures of the GPUs, such as "89" for Ada or "90" for Hopper; empty for all that SP1 supports.
ARG CUDA_ARCHS=""
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        build-essential ca-certificates clang cmake curl git libclang-dev libssl-dev pkg-config protobuf-compiler \
    && rm -rf /var/lib/apt/lists/*
COPY --from=go /usr/local/go /usr/local/go
RUN curl -sSf -o rustup.sh https://sh.rustup.rs \
    && sh rustup.sh -y --profile minimal --default-toolchain "$RUST" \
    && rm rustup.sh
ENV PATH=/root/.cargo/bin:/usr/local/go/bin:/usr/local/cuda/bin:$PATH
RUN if [ -n "$CUDA_ARCHS" ]; then export CUDA_ARCHS; else unset CUDA_ARCHS; fi \
    && cargo install --locked --root /out "sp1-gpu-server@=$SP1"

FROM nvidia/cuda:${CUDA}-runtime-ubuntu24.04
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates libgomp1 libssl3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/bin/sp1-gpu-server /usr/local/bin/
# The Contemplant says which user it runs as, and shares /tmp, where the socket is made.
ENTRYPOINT ["/usr/local/bin/sp1-gpu-server"]
