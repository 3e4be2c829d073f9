//! Every seed, and changed seeds for a moment: what `cargo xtask fuzz` does for hours, without an engine.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use fuzz_targets::{TARGETS, run};

/// For how long each target is fed with changed seeds, in milliseconds.
const TIME_MS: u64 = 1000;

/// The seeds of a target with the names of their files, in order. Cargo starts tests in their package's folder.
fn named_seeds(name: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new("seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
    let seed = |entry: io::Result<DirEntry>| {
        let entry = entry.expect("readable");
        let file = entry.file_name().into_string().expect("a plain name");
        (file, fs::read(entry.path()).expect("readable"))
    };
    entries.map(seed).collect()
}

/// The seeds of a target.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    named_seeds(name).into_values().collect()
}

/// A seed with a few bytes changed, cut out or put in, or the end of another one behind it.
fn changed(seeds: &[Vec<u8>], u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut bytes = u.choose(seeds)?.clone();
    for _ in 0..u.int_in_range(1..=4)? {
        let at = u.int_in_range(0..=bytes.len())?;
        match u.int_in_range(0..=4)? {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u.arbitrary()?),
            2 if at < bytes.len() => bytes[at] = u.arbitrary()?,
            3 if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => {
                let other = u.choose(seeds)?;
                let from = u.int_in_range(0..=other.len())?;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    Ok(bytes)
}

fn try_target(name: &str) {
    let seeds = seeds(name);
    let taken = seeds.iter().filter(|seed| run(name, seed)).count();
    assert!(taken >= 1 && taken < seeds.len(), "{name} took {taken} of {} seeds", seeds.len());
    let mut tries = 0_u32;
    arbtest(|u| {
        let _ = run(name, &changed(&seeds, u)?);
        tries += 1;
        Ok(())
    })
    .budget_ms(TIME_MS);
    assert!(tries > 10, "{name} was tried {tries} times only");
}

/// One test for each target.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                try_target(stringify!($name));
            }
        )*

        #[test]
        fn no_target_is_left_out() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            for name in names {
                let engine = format!("engine/fuzz_targets/{name}.rs");
                assert!(Path::new(&engine).exists(), "{engine} is missing");
            }
        }
    };
}

tests!(
    config,
    coordinator_message,
    headers,
    ids,
    program,
    proof,
    request_body,
    signed_call,
    stored_record,
    unpacked,
    verifying_key,
    worker_message,
);

/// A column that is added to a kind of record is also added to its seeds: only `foreign` is refused.
#[test]
fn every_kind_of_record_is_taken() {
    let seeds = named_seeds("stored_record");
    let refused = seeds.iter().filter(|(_, seed)| !run("stored_record", seed));
    assert_eq!(refused.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["foreign"]);
}
