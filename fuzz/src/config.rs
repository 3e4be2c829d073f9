//! Configuration files.

use hierophant::config::Config;
use network_lib::config::{Faults, Settings, parse};
use serde::{Deserialize, Serialize};

/// Hierophant's keys without its checks, one of which makes a folder of any name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Unchecked(Config);

impl Settings for Unchecked {
    const ENV_PREFIX: &'static str = "HIEROPHANT";

    fn validate(&self, _: &mut Faults) {}
}

/// A file, and after a zero byte the value of one environment variable. Every refusal says why.
pub(crate) fn hierophant(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (file, value) = text.split_once('\0').unwrap_or((text, ""));
    let variable = ("HIEROPHANT_PROOFS__RACE_AFTER".to_owned(), value.to_owned());
    let variable = Some(variable).filter(|(_, value)| !value.is_empty());
    let Err(error) = parse::<Unchecked>(file, "file", variable) else { return true };
    assert!(!error.faults.is_empty(), "refused without a reason");
    assert!(error.to_string().contains("fault"), "{error}");
    false
}
