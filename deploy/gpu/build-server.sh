#!/usr/bin/env bash
# Builds SP1's GPU prover server for one GPU architecture on a machine without a GPU, NVIDIA's packages, or Go.
#
#   deploy/gpu/build-server.sh [--arch 90] [--cpu x86-64-v3] [--to FOLDER] [--jobs N]
#
# It needs cargo, a C++ compiler, and python3 with pip, and 5 GB of disk. CUDA's compiler and CMake come as Python wheels,
# protoc as a crate. The licence of CUDA's wheels is NVIDIA's: they stay in FOLDER and are used to build only.
#
# The program differs from `cargo install sp1-gpu-server` in two ways:
# - It makes Core and Compressed proofs. For PLONK and Groth16, SP1 runs a Docker image instead of code of its own, because
#   that code needs Go 1.24 and Go's modules. With --gnark the code is built in, where both are at hand.
# - The runtimes of CUDA and OpenMP are linked into it, so that a machine needs NVIDIA's driver (580 or later, for CUDA 13) alone.
set -euo pipefail

version=6.10.0
arch=90 cpu=x86-64-v3 to=target/gpu-server jobs="$(nproc)" gnark=
while [ $# -gt 0 ]; do
    case $1 in
        --arch) arch=${2#sm_}; shift ;;
        --cpu) cpu=$2; shift ;;
        --to) to=$2; shift ;;
        --jobs) jobs=$2; shift ;;
        --gnark) gnark=yes ;;
        *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
for program in cargo python3 c++; do
    command -v "$program" >/dev/null || { echo "$program is missing: expected it on PATH" >&2; exit 1; }
done
mkdir -p "$to"
to=$(cd "$to" && pwd)
wheels="$to/wheels" cuda="$to/cuda" source="$to/source-$version${gnark:+-gnark}" scratch="$to/scratch"

# CUDA's compiler, headers and runtime, in the order of folders that its users expect, and a CMake that knows CUDA's C++20.
if [ ! -x "$cuda/bin/nvcc" ] || [ ! -x "$to/bin/cmake" ]; then
    rm -rf "$wheels" "$cuda"
    python3 -m pip install --quiet --root-user-action ignore --no-deps --target "$wheels" \
        nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85 \
        nvidia-cuda-runtime==13.0.96 nvidia-nvtx==13.0.85 'cmake==3.31.*'
    mv "$wheels/nvidia/cu13" "$cuda"
    chmod +x "$cuda"/bin/* "$cuda"/nvvm/bin/*
    for library in "$cuda"/lib/*.so.*; do ln -sf "$(basename "$library")" "${library%%.so.*}.so"; done
    # Linkers look here first: static runtimes, of CUDA under the name of the shared one, and of OpenMP.
    mkdir -p "$cuda/lib64" "$to/bin"
    ln -sf ../lib/libcudadevrt.a ../lib/libcudart_static.a "$cuda/lib64/"
    ln -sf ../lib/libcudart_static.a "$cuda/lib64/libcudart.a"
    ln -sf "$(c++ -print-file-name=libgomp.a)" "$cuda/lib64/"
    ln -sf "$wheels/cmake/data/bin/cmake" "$to/bin/cmake"
fi

# The crate's source and protoc, by way of a crate that depends on both.
mkdir -p "$scratch/src"
: >"$scratch/src/lib.rs"
cat >"$scratch/Cargo.toml" <<END
[package]
name = "scratch"
version = "0.0.0"
edition = "2024"

[dependencies]
sp1-gpu-server = "=$version"
protoc-bin-vendored = "3.2"

[workspace]
END
cargo fetch --quiet --manifest-path "$scratch/Cargo.toml"
unpacked() {
    find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name "$1" | sort | tail -n 1
}
if [ ! -e "$source/ready" ]; then
    rm -rf "$source"
    cp -r "$(unpacked "sp1-gpu-server-$version")" "$source"
    if [ -z "$gnark" ]; then
        grep -q '^features = \["native-gnark"\]$' "$source/Cargo.toml" \
            || { echo "sp1-gpu-server $version asks for other features than expected: native-gnark" >&2; exit 1; }
        sed -i '/^features = \["native-gnark"\]$/d' "$source/Cargo.toml"
    fi
    # Apart from any workspace that contains the folder.
    printf '\n[workspace]\n' >>"$source/Cargo.toml"
    : >"$source/ready"
fi

export PROTOC="${PROTOC:-$(unpacked 'protoc-bin-vendored-linux-x86_64-*')/bin/protoc}"
export CUDA_PATH="$cuda" CUDACXX="$cuda/bin/nvcc" CUDA_ARCHS="$arch" PATH="$cuda/bin:$to/bin:$PATH"
export RUSTFLAGS="-C target-cpu=$cpu" CARGO_TARGET_DIR="$to/target" CARGO_PROFILE_RELEASE_STRIP=true
# Not --locked: without the feature its lock file names crates too many. Those that remain keep their versions.
(cd "$source" && cargo build --release --jobs "$jobs")

install "$to/target/release/sp1-gpu-server" "$to/sp1-gpu-server"
reported=$("$to/sp1-gpu-server" --version)
[ "$reported" = "$version" ] || { echo "the program reports version \"$reported\": expected $version" >&2; exit 1; }
echo "$to/sp1-gpu-server: version $reported, sm_$arch, $(($(stat -c %s "$to/sp1-gpu-server") / 1000000)) MB"
