# SP1's GPU prover server as released, without compiling anything, as `contemplant` starts it for `backend = "cuda"`:
#
#   docker build -f contemplant/docker/prover-server-release.Dockerfile -t sp1-gpu-server:6.10.0 \
#     --build-arg SHA256=… contemplant/docker
#
# SHA256 is the digest of sp1_gpu_server_v6.10.0_x86_64.tar.gz, shown beside the file at
# https://github.com/succinctlabs/sp1/releases/tag/v6.10.0. The version must be that of the Contemplant's SP1
# (contemplant.toml, `docker.image`).

ARG CUDA=12.8.1
ARG UBUNTU=24.04
FROM nvidia/cuda:${CUDA}-runtime-ubuntu${UBUNTU} AS fetch
ARG SP1=6.10.0
ARG SHA256
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /fetch
RUN archive="sp1_gpu_server_v${SP1}_x86_64.tar.gz" \
    && echo "${SHA256:?expected --build-arg SHA256=…, the digest of $archive}  server.tar.gz" > expected \
    && curl -sSfL --proto =https --retry 5 -o server.tar.gz \
        "https://github.com/succinctlabs/sp1/releases/download/v${SP1}/$archive" \
    && sha256sum --check --strict expected \
    && tar --extract --gzip --file server.tar.gz --no-same-owner \
    && chmod 755 sp1-gpu-server

FROM nvidia/cuda:${CUDA}-runtime-ubuntu${UBUNTU}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates libgomp1 libssl3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=fetch /fetch/sp1-gpu-server /usr/local/bin/
# The Contemplant says which user it runs as, and shares /tmp, where the socket is made.
ENTRYPOINT ["/usr/local/bin/sp1-gpu-server"]
