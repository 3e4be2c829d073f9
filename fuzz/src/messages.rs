//! Frames of the WebSocket between Hierophant and Contemplant.

use std::fmt::Debug;

use network_lib::codec::{decode, encode};
use network_lib::wire::{FromWorker, ToWorker};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What Hierophant reads.
pub(crate) fn from_worker(bytes: &[u8]) -> bool {
    same::<FromWorker>(bytes)
}

/// What a Contemplant reads.
pub(crate) fn to_worker(bytes: &[u8]) -> bool {
    same::<ToWorker>(bytes)
}

/// What is understood is written as a frame that is understood as the same. Compared as text, since a
/// fraction may be "not a number".
fn same<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> bool {
    let Ok(frame) = std::str::from_utf8(bytes) else { return false };
    let Ok(message) = decode::<T>(frame) else { return false };
    let written = encode(&message);
    match decode::<T>(&written) {
        Ok(again) => assert_eq!(written, encode(&again), "{frame}"),
        Err(error) => panic!("{frame} is understood, {written} is not: {error}"),
    }
    true
}
