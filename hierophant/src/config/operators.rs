//! Who may operate: `[operators]`.

use serde::{Deserialize, Serialize};

/// Section `[operators]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorsConfig {
    /// Whether callers on this machine need a token too. Default no: whoever has an account on it, and
    /// whatever a proxy on it passes on without a word of it, may operate.
    pub require_token: bool,
}
