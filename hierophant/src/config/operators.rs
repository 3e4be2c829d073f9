//! Access of operators: `[operators]`.

use serde::{Deserialize, Serialize};

/// Environment variable with the access token that commands of `hierophant` present.
pub const TOKEN_VARIABLE: &str = "HIEROPHANT_TOKEN";

/// Section `[operators]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorsConfig {
    /// Whether callers on this machine need a token too. Default no: every account on this machine may operate, and so
    /// may callers behind a local proxy that sets no forwarding header.
    pub require_token: bool,
}
