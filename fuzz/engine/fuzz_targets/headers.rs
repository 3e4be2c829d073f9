#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: engine::init(), |bytes: &[u8]| {
    let _ = fuzz_targets::run("headers", bytes);
});
