//! The guest of the examples and tests: Fibonacci numbers, in a program small enough to prove anywhere.
//!
//! It reads one `u32`, `n`, and commits three: `n`, `F(n) mod 7919` and `F(n + 1) mod 7919`, twelve
//! little-endian bytes in all. The input also chooses how the run ends, so that a network can be shown
//! each outcome with one ELF and one verifying key:
//!
//! - a small `n` succeeds at once;
//! - the work grows with `n`, 14 cycles a step, so a large one exceeds a request's cycle limit;
//! - [`PANICKING_INPUT`] panics before anything is committed: exit code 1;
//! - no input, or fewer than four bytes of it, is refused by SP1's own library: exit code 3.
//!
//! The numbers are kept below [`MODULUS`] so that every `n` has an answer that fits its word. The host's
//! side of this agreement is the crate `fibonacci` one folder up.

#![no_main]

sp1_zkvm::entrypoint!(main);

/// The thousandth prime. Twice it is far below `u32::MAX`: the sum of two residues cannot overflow.
const MODULUS: u32 = 7919;

/// The one input that makes this program fail.
const PANICKING_INPUT: u32 = u32::MAX;

fn main() {
    let n = sp1_zkvm::io::read::<u32>();
    assert!(n != PANICKING_INPUT, "asked to panic");

    let (a, b) = fibonacci_pair(n);
    sp1_zkvm::io::commit(&n);
    sp1_zkvm::io::commit(&a);
    sp1_zkvm::io::commit(&b);
}

/// `F(n)` and `F(n + 1)`, both modulo [`MODULUS`], one step at a time.
fn fibonacci_pair(n: u32) -> (u32, u32) {
    let mut a = 0;
    let mut b = 1;
    for _ in 0..n {
        let next = (a + b) % MODULUS;
        a = b;
        b = next;
    }
    (a, b)
}
