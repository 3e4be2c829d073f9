//! Tests with SP1's SDK and with the real programs; one program, because SP1 is linked into each.

mod aggregation;
mod committed_keys;
mod observed;
mod sdk_modes;
mod tasks;
