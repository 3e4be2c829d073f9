#!/usr/bin/env bash
# Tries SP1's prover server on this machine's GPU with the programs beside this file, for ten minutes at most. It needs
# NVIDIA's driver, and nothing of Rust.
#
#   ./run.sh [--gpu NUMBER] [--limit SECONDS] [--out FOLDER]
#
# Without the file sp1-gpu-server beside it, SP1's release is fetched: SHA256=HEX ./run.sh (docs/gpu.md names the digest's
# source). The figures are in FOLDER (default: figures, beside this file), as JSON and as tables. Exit status: 0 if every
# step held.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
if [ -x sp1-gpu-server ]; then
    server=(--server "$here/sp1-gpu-server")
elif [ -n "${SHA256:-}" ]; then
    server=(--fetch "$SHA256")
elif [ -x gpu-stand-in ]; then
    server=(--stand-in)
else
    echo "a prover server is missing: expected the file sp1-gpu-server, or SHA256=HEX" >&2
    exit 2
fi
# SP1's release needs CUDA's runtime library, which is often outside the linker's folders.
for folder in /usr/local/cuda/lib64 /usr/local/nvidia/lib64; do
    if [ -d "$folder" ]; then export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"; fi
done
exec ./gpu-suite trial "${server[@]}" --out "$here/figures" "$@"
