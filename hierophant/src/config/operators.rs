//! Access of operators: `[operators]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Environment variable with the access token that commands of `hierophant` present.
pub const TOKEN_VARIABLE: &str = "HIEROPHANT_TOKEN";

/// Section `[operators]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorsConfig {
    /// Address of the admin listener: `/api/v1`, the dashboard, status pages and metrics, and nothing for clients and
    /// workers. Without TLS on an address of this machine, otherwise with the certificate of `[tls]`. Default none.
    pub admin_address: Option<SocketAddr>,
    /// Whether the HTTP port serves operators too. Default yes; no with `profile = "production"`.
    pub on_public_port: Option<bool>,
    /// Whether callers on this machine need a token too, except over the Unix socket in the data folder. Default no: every
    /// account on this machine may operate, and so may callers behind a local proxy that sets no forwarding header.
    pub require_token: bool,
}
