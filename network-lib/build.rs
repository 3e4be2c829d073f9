//! Compiles the check of the processor, which is part of every program: see `src/processor.c`.

use std::env;

fn main() {
    const SOURCE: &str = "src/processor.c";
    println!("cargo:rerun-if-changed={SOURCE}");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("ARCH") != "x86_64" || target("OS") != "linux" {
        return;
    }
    cc::Build::new()
        .file(SOURCE)
        .define("_GNU_SOURCE", None)
        .define("REQUIRED", format!("\"{}\"", target("FEATURE")).as_str())
        // It must run on every processor, whatever CFLAGS say.
        .flag("-march=x86-64")
        .link_lib_modifier("+whole-archive")
        .compile("hierophant_processor");
}
