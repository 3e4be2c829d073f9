# The coordinator, built from the repository's root:
#
#   docker build -f hierophant/docker/hierophant.Dockerfile -t hierophant .
#
# It writes to /var/lib/hierophant alone, and needs no capability: see deploy/docker/compose.yml.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# For every x86-64 processor, not only for the one that builds.
RUN cargo xtask setup && RUSTFLAGS="-C target-cpu=x86-64" cargo build --release --package hierophant

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 hierophant \
    && useradd --system --uid 10001 --gid hierophant --home-dir /var/lib/hierophant --create-home hierophant \
    && chmod 700 /var/lib/hierophant
COPY --from=build /source/target/release/hierophant /usr/local/bin/
USER 10001:10001
WORKDIR /var/lib/hierophant
VOLUME /var/lib/hierophant
EXPOSE 9000 9010
ENTRYPOINT ["/usr/local/bin/hierophant"]
