//! The check of the processor that is linked to every program.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(missing_docs, reason = "a test")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/processor.c");

/// Compiles the check for these features, as the build does; `others` are further arguments.
fn compile(required: &str, others: &[&OsStr], into: &Path) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(compiler)
        .args(["-O3", "-march=x86-64", "-Wall", "-Werror", "-D_GNU_SOURCE"])
        .arg(format!("-DREQUIRED=\"{required}\""))
        .arg(SOURCE)
        .args(others)
        .arg("-o")
        .arg(into)
        .output()
        .expect("a C compiler, which the build needs as well");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

/// A program that does nothing, with the check for these features.
fn run_with(required: &str, folder: &Path) -> Output {
    let (main, program) = (folder.join("main.c"), folder.join("program"));
    std::fs::write(&main, "int main(void) { return 0; }\n").expect("writes");
    compile(required, &[main.as_os_str()], &program);
    Command::new(&program).output().expect("starts")
}

/// Features and their names in `/proc/cpuinfo`, where the kernel lists what it supports.
const FEATURES: [(&str, &str); 14] = [
    ("sse3", "pni"),
    ("sse4.2", "sse4_2"),
    ("aes", "aes"),
    ("rdrand", "rdrand"),
    ("avx", "avx"),
    ("fma", "fma"),
    ("avx2", "avx2"),
    ("bmi2", "bmi2"),
    ("lzcnt", "abm"),
    ("sha", "sha_ni"),
    ("avx512f", "avx512f"),
    ("avx512vbmi2", "avx512_vbmi2"),
    ("sse4a", "sse4a"),
    // No processor since 2016 has it.
    ("tbm", "tbm"),
];

#[test]
fn a_program_ends_with_the_names_of_the_features_that_the_machine_lacks() {
    let info = std::fs::read_to_string("/proc/cpuinfo").expect("reads");
    let flags = info.lines().find(|line| line.starts_with("flags")).expect("a list of flags");
    let here: BTreeSet<&str> = flags.split_whitespace().collect();
    let (present, missing): (Vec<_>, Vec<_>) =
        FEATURES.iter().partition(|(_, flag)| here.contains(flag));
    let names =
        |list: &[&(&'static str, &str)]| list.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let folder = tempfile::tempdir().expect("a folder");

    let all: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
    let ended = run_with(&format!("sse2,{},unknown", all.join(",")), folder.path());
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    let words = text.strip_prefix("program: this program was compiled for a processor with ");
    let words = words.and_then(|rest| rest.split_once(", which this machine lacks: build it on"));
    let named: BTreeSet<&str> =
        words.map(|(names, _)| names.split(", ").collect()).unwrap_or_default();
    assert_eq!(named, names(&missing).into_iter().collect(), "{text}");

    let ended = run_with(&names(&present).join(","), folder.path());
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let ended = run_with("", folder.path());
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

/// An optimiser that moved the instruction forward would end an old processor's program without a word.
#[test]
fn the_register_state_is_not_read_before_the_processor_is_asked_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let assembly = folder.path().join("check.s");
    compile("avx2", &["-S".as_ref()], &assembly);
    let text = std::fs::read_to_string(assembly).expect("reads");
    let asked = text.find("cpuid").expect("the processor is asked");
    let read = text.find("xgetbv").expect("the state is read");
    assert!(asked < read, "{text}");
}

#[test]
fn the_check_is_part_of_every_program_that_uses_this_library() {
    // This one.
    let _ = network_lib::processor::Build::of_this_program();
    let program = std::fs::read(std::env::current_exe().expect("known")).expect("reads");
    let words = b"this program was compiled for a processor with %s";
    assert!(program.windows(words.len()).any(|part| part == words));
}
