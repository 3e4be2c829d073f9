//! Sanitization of text from workers: bounded in length, without control characters that could command a terminal.
//! None of it is ever used as a path, an address or a command.

use network_lib::handshake::Capabilities;

/// Maximum number of GPUs of a worker.
pub const MAX_GPUS: usize = 64;

/// Maximum number of circuit versions of a worker.
const MAX_VERSIONS: usize = 64;

/// Maximum number of slots of a worker.
const MAX_SLOTS: u32 = 1024;

/// Maximum length of a name in characters.
const MAX_NAME_CHARS: usize = 64;

/// Maximum length of a message in characters.
const MAX_MESSAGE_CHARS: usize = 1000;

/// Sanitizes the capabilities of a worker.
pub fn capabilities(capabilities: &mut Capabilities) {
    let Capabilities {
        vm, circuit_versions, modes, slots, prefetch, gpus, unavailable_reason, ..
    } = capabilities;
    *vm = name(vm);
    circuit_versions.truncate(MAX_VERSIONS);
    for version in circuit_versions {
        *version = name(version);
    }
    let mut seen = Vec::new();
    modes.retain(|mode| {
        let new = !seen.contains(mode);
        seen.extend(new.then_some(*mode));
        new
    });
    *slots = (*slots).min(MAX_SLOTS);
    // More would only keep jobs from other workers.
    *prefetch = (*prefetch).min(*slots);
    gpus.truncate(MAX_GPUS);
    for gpu in gpus {
        gpu.model = name(&gpu.model);
        gpu.driver = gpu.driver.as_deref().map(name);
    }
    *unavailable_reason = unavailable_reason.as_deref().map(message);
}

/// Sanitized name or version.
#[must_use]
pub fn name(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
}

/// Sanitized message in one line.
#[must_use]
pub fn message(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::{Backend, Gpu};
    use network_lib::job::ProofMode;

    use super::*;

    #[test]
    fn text_of_a_worker_is_displayable_and_bounded() {
        let model = format!("L4\u{1b}[2J\n{}", "x".repeat(99));
        let mut capabilities = Capabilities {
            vm: "sp1\u{7}".repeat(1000),
            circuit_versions: vec!["v\u{1b}]0;title\u{7}".repeat(1000); 9999],
            modes: ProofMode::ALL.repeat(9999),
            backend: Backend::Cpu,
            slots: u32::MAX,
            prefetch: u32::MAX,
            memory_bytes: u64::MAX,
            gpus: vec![Gpu { model, memory_bytes: 1, driver: Some("5\r5".into()) }; 99],
            unavailable_reason: Some("no\r\n\u{1b}[31mGPU".repeat(9999)),
        };
        super::capabilities(&mut capabilities);
        assert_eq!(capabilities.gpus.len(), MAX_GPUS);
        assert_eq!(capabilities.gpus[0].driver.as_deref(), Some("55"));
        assert!(capabilities.gpus[0].model.starts_with("L4[2Jxx"));
        assert_eq!(capabilities.gpus[0].model.len(), 64);
        assert_eq!(capabilities.modes, ProofMode::ALL);
        assert_eq!((capabilities.slots, capabilities.prefetch), (MAX_SLOTS, MAX_SLOTS));
        (capabilities.slots, capabilities.prefetch) = (2, 9);
        super::capabilities(&mut capabilities);
        assert_eq!(capabilities.prefetch, 2);
        assert_eq!(capabilities.circuit_versions.len(), MAX_VERSIONS);
        let unavailable_reason = capabilities.unavailable_reason.unwrap_or_default();
        assert!(
            unavailable_reason.starts_with("no   [31mGPUno")
                && unavailable_reason.len() == MAX_MESSAGE_CHARS
        );
        let texts = [&capabilities.vm, &capabilities.circuit_versions[0], &unavailable_reason];
        assert!(texts.iter().all(|text| !text.contains(char::is_control)));
    }
}
