//! What every program of the engine does first.

/// SP1's verifiers panic on some hostile proofs, which Hierophant catches and takes as a verdict. The engine's own
/// hook would end the program before that; an uncaught panic still ends it.
pub fn init() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
