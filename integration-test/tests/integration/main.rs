//! Tests with SP1's SDK and with the real programs; one program, because SP1 is linked into each.

mod fibonacci_key;
mod observed;
mod sdk_modes;
