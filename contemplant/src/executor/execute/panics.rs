//! Panics in an execution process and in SP1's native executor below it, and which of them the guest has caused.
//!
//! SP1 panics on programs that it cannot decode and on system calls with wrong arguments, and also when the machine
//! fails it, for instance for want of disk. The place of a panic tells the two apart.

use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The module that passes on the error output of SP1's native executor, one event for each line.
const NATIVE_EXECUTOR: &str = "sp1_core_executor_runner";

/// What such an event begins with, before the executor's id, a colon and the line.
const OF_NATIVE_EXECUTOR: &str = "CHILD ";

/// Code that runs on a guest's behalf: decoding its program, its system calls, its memory.
const GUEST_CODE: [(&str, &str); 7] = [
    ("sp1-core-executor", "/src/disassembler/"),
    ("sp1-core-executor", "/src/program.rs"),
    ("sp1-core-executor", "/src/minimal/ecall.rs"),
    ("sp1-core-executor", "/src/minimal/hint.rs"),
    ("sp1-core-executor", "/src/minimal/write.rs"),
    ("sp1-core-executor", "/src/minimal/precompiles/"),
    ("sp1-jit", "/src/context.rs"),
];

/// The panics of an execution so far. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panics(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    of_guest: Option<String>,
    /// The native executor's last line was the place of a panic in guest code, so the next is its message.
    message_follows: bool,
}

impl Panics {
    /// Starts to record the panics of this process and of its native executors.
    pub(in crate::executor) fn record() -> Self {
        let panics = Self::default();
        let recorder = panics.clone();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.location().is_some_and(|place| is_guest_code(place.file())) {
                let message = info.payload_as_str().unwrap_or("panic without a message");
                recorder.lock().of_guest.get_or_insert_with(|| message.to_owned());
            }
            before(info);
        }));
        let only = Targets::new().with_target(NATIVE_EXECUTOR, Level::DEBUG);
        tracing_subscriber::registry().with(Lines(panics.clone()).with_filter(only)).init();
        panics
    }

    /// The message of the first panic that the guest has caused, if any.
    pub(crate) fn of_guest(&self) -> Option<String> {
        self.lock().of_guest.clone()
    }

    /// Reads a line of a native executor's error output.
    pub(crate) fn line(&self, line: &str) {
        let mut state = self.lock();
        if state.message_follows {
            state.message_follows = false;
            state.of_guest.get_or_insert_with(|| line.to_owned());
            return;
        }
        // A guest's own output is prefixed, so it cannot look like this.
        let place = line.strip_prefix("thread ").and_then(|rest| rest.split_once(" panicked at "));
        state.message_follows = place.is_some_and(|(_, place)| is_guest_code(place));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_guest_code(file: &str) -> bool {
    GUEST_CODE.iter().any(|(package, path)| file.contains(package) && file.contains(path))
}

/// Reads the lines of native executors.
struct Lines(Panics);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Message(&self.0));
    }
}

struct Message<'a>(&'a Panics);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() != "message" {
            return;
        }
        let text = format!("{value:?}");
        let line = text.strip_prefix(OF_NATIVE_EXECUTOR).and_then(|rest| rest.split_once(": "));
        if let Some((_, line)) = line {
            self.0.line(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "/home/u/.cargo/registry/src/index-1949/";

    fn after(lines: &[String]) -> Option<String> {
        let panics = Panics::default();
        for line in lines {
            panics.line(line);
        }
        panics.of_guest()
    }

    fn panic_at(place: &str) -> Option<String> {
        after(&[
            String::new(),
            format!("thread 'main' (77) panicked at {REGISTRY}{place}:45:9:"),
            "what is wrong".to_owned(),
            "note: run with `RUST_BACKTRACE=1`".to_owned(),
        ])
    }

    #[test]
    fn a_panic_in_a_system_call_is_the_guest_s() {
        let message = Some("what is wrong".to_owned());
        assert_eq!(panic_at("sp1-core-executor-6.10.0/src/minimal/hint.rs"), message);
        assert_eq!(panic_at("sp1-core-executor-6.10.0/src/minimal/precompiles/keccak.rs"), message);
        assert_eq!(panic_at("sp1-core-executor-6.10.0/src/disassembler/rrs.rs"), message);
    }

    #[test]
    fn any_other_panic_is_the_machine_s() {
        assert_eq!(panic_at("sp1-core-executor-runner-6.10.0/src/native.rs"), None);
        assert_eq!(panic_at("sp1-jit-6.10.0/src/memory.rs"), None);
        assert_eq!(panic_at("sp1-core-executor-6.10.0/src/minimal/arch/portable/trace.rs"), None);
    }

    #[test]
    fn a_guest_cannot_blame_itself_by_its_output() {
        let place = format!("{REGISTRY}sp1-core-executor-6.10.0/src/minimal/hint.rs:45:9:");
        let printed = format!("stdout: thread 'main' (77) panicked at {place}");
        assert_eq!(after(&[printed, "stdout: text".to_owned()]), None);
    }
}
