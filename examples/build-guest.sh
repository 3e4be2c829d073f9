#!/usr/bin/env bash
# Rebuilds the ELF of an example from its program/ on a Debian machine that does not have SP1's own toolchain.
#
#   build-guest.sh fibonacci            replace fibonacci/fibonacci.elf and its .sha256
#   build-guest.sh fibonacci --check    build, and say whether the result is the committed ELF
#
# SP1's toolchain is a Rust compiler that knows one more target. Any recent compiler accepts that
# target from a JSON file, if it also has the sources of its standard library to build for it. Debian
# packages both; they are fetched by apt, which verifies them, and unpacked into a cache folder, so this
# neither needs root nor disturbs an installed Rust.
#
# Needs apt's package lists (apt-get update), and a Rust installed by rustup: its cargo and its rust-lld.
# GUEST_TOOLCHAIN_DIR names another cache folder than ~/.cache/hierophant-guest-toolchain.
set -euo pipefail

fail() {
  echo "build-guest.sh: $*" >&2
  exit 1
}

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
name=${1:-}
[ -d "$examples/$name/program" ] && [ -n "$name" ] || fail "name an example with a program, such as fibonacci"
case "${*:2}" in
  "") check=false ;;
  --check) check=true ;;
  *) fail "the only option is --check" ;;
esac

here=$examples/$name
cache=${GUEST_TOOLCHAIN_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hierophant-guest-toolchain}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)
cd "$here/program"

for tool in apt-get apt-cache dpkg-deb cargo rustc sha256sum; do
  command -v "$tool" > /dev/null || fail "$tool is not installed"
done

# The linker is the one of the Rust release that the repository pins.
host=$(rustc -vV | sed -n 's/^host: //p')
linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
[ -x "$linker" ] || fail "no rust-lld at $linker: is this Rust from rustup?"

# rustc-web is the compiler that Debian keeps current for its browsers. The names of the library
# packages carry version numbers, so they are read from the dependencies.
depends_on() {
  apt-cache depends "$1" | awk -v name="$2" '$1 == "Depends:" && $2 ~ name { print $2; exit }'
}
version=$(apt-cache show --no-all-versions rustc-web 2> /dev/null | awk '$1 == "Version:" { print $2 }')
[ -n "$version" ] || fail "apt does not know rustc-web: run apt-get update, on Debian 12 or later"
root=$cache/rustc-web-$version

if [ ! -d "$root" ]; then
  library=$(depends_on libstd-rust-web-dev '^libstd-rust-web-[0-9]')
  llvm=$(depends_on "$library" '^libllvm[0-9]')
  unfinished=$(mktemp -d "$cache/unpack.XXXXXX")
  trap 'rm -rf "$unfinished"' EXIT
  mkdir "$unfinished/debs" "$unfinished/root"
  (cd "$unfinished/debs" &&
    apt-get -qq download rustc-web rust-web-src libstd-rust-web-dev "$library" "$llvm")
  for package in "$unfinished"/debs/*.deb; do
    dpkg-deb --extract "$package" "$unfinished/root"
  done
  mv "$unfinished/root" "$root"
fi

libraries=$(echo "$root"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH=$libraries "$root/usr/bin/rustc" --version ||
  fail "the unpacked compiler does not start; LLVM may lack libraries (libedit2, libxml2, libz3-4)"

# What SP1's compiler has built in for its target. Cargo takes the target's name from the file's.
target=riscv64im-succinct-zkvm-elf
cat > "$cache/$target.json" << 'JSON'
{
  "llvm-target": "riscv64",
  "arch": "riscv64",
  "os": "zkvm",
  "vendor": "succinct",
  "cpu": "generic-rv64",
  "features": "+m",
  "llvm-abiname": "lp64",
  "target-pointer-width": 64,
  "data-layout": "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128",
  "code-model": "medium",
  "relocation-model": "static",
  "panic-strategy": "abort",
  "singlethread": true,
  "atomic-cas": true,
  "max-atomic-width": 64,
  "linker": "rust-lld",
  "linker-flavor": "gnu-lld",
  "crt-objects-fallback": "false",
  "eh-frame-header": false,
  "emit-debug-gdb-scripts": false
}
JSON

# The flags of `cargo prove build`, the linker, and the two folders whose names would otherwise end up
# in the panic messages.
flags=(
  -C passes=lower-atomic # one thread: atomics become plain loads and stores
  -C panic=abort
  -C link-arg=--image-base=2013265920 # 0x78000000: the stack lies below, the heap above
  -C llvm-args=-misched-prera-direction=bottomup
  -C llvm-args=-misched-postra-direction=bottomup
  --cfg 'getrandom_backend="custom"'
  -C "linker=$linker"
  "--remap-path-prefix=$cache=/toolchain"
  "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/crates"
)

# Unstable features of a stable compiler, hence RUSTC_BOOTSTRAP: the target file, and the standard
# library built for it.
LD_LIBRARY_PATH=$libraries RUSTC=$root/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo -n "${flags[*]}") \
  CARGO_TARGET_DIR=$cache/target \
  cargo build --locked --release --target "$cache/$target.json" -Z json-target-spec \
  -Z build-std=std,panic_abort -Z build-std-features=compiler-builtins-mem
built=$cache/target/$target/release/$name-program

if grep -aqF -e "$HOME/" -e "$cache" -e "$here" "$built"; then
  fail "the ELF names folders of this machine: $built"
fi

cd "$here"
if $check; then
  cmp "$built" "$name.elf" || fail "this build differs from the committed ELF"
  echo "$name.elf is what this machine builds"
else
  cp "$built" "$name.elf"
  sha256sum "$name.elf" | tee "$name.elf.sha256"
fi
