# Contemplant and SP1's GPU prover server in one image, for machines that run containers but have no Docker inside, such
# as rented GPU machines (docs/rented-gpus.md). It joins two images, which are built before:
#
#   docker build -f contemplant/docker/contemplant.Dockerfile -t contemplant .
#   docker build -f contemplant/docker/prover-server-release.Dockerfile -t sp1-gpu-server:6.10.0 \
#     --build-arg SHA256=… contemplant/docker
#   docker build -f contemplant/docker/contemplant-cuda.Dockerfile -t contemplant-cuda contemplant/docker
#
#   docker run -d --gpus all --shm-size 16g -v contemplant:/data -e CONTEMPLANT_TOKEN=… \
#     -e CONTEMPLANT_HIEROPHANT_WS_ADDRESS=wss://HOST/ws contemplant-cuda

ARG CONTEMPLANT=contemplant
ARG SERVER=sp1-gpu-server:6.10.0
FROM ${CONTEMPLANT} AS contemplant

FROM ${SERVER}
# tini ends the orphans of prover servers and executions, which only the first process of a container can do.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 contemplant \
    && useradd --system --uid 10001 --gid contemplant --home-dir /data contemplant \
    && install -d -o 10001 -g 10001 /data
COPY --from=contemplant /usr/local/bin/contemplant /usr/local/bin/contemplant-x86-64-v3 /usr/local/bin/
ENV CONTEMPLANT_BACKEND=cuda \
    CONTEMPLANT_DATA_DIR=/data \
    CONTEMPLANT_PROVER_COMMAND='["/usr/local/bin/sp1-gpu-server"]' \
    HOME=/data \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all
WORKDIR /data
# The user is root, because rented machines mount volumes of root and do not let their tenants choose the user.
# deploy/docker/gpu-worker.yml runs it as 10001, without capabilities.
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/contemplant"]
