//! Check: Hierophant can be reached and accepts this worker.

use network_lib::handshake::{Backend, Capabilities, Hello, ProtocolRange};
use network_lib::ids::WorkerId;

use crate::config::{BackendChoice, Config, endpoints};
use crate::link;
use crate::trust::Trust;

/// Connects with an identity of its own, so that a running worker is not displaced.
pub(super) async fn hierophant(config: &Config) -> Result<String, String> {
    let address = &config.hierophant_ws_address;
    let endpoints = endpoints(address).map_err(|fault| format!("the address {fault}"))?;
    // TLS needs a provider. One that is set already is kept.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let hello = Hello {
        protocol: ProtocolRange::OURS,
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: "doctor".to_owned(),
        worker_id: WorkerId::random(),
        instance: config.instance.clone(),
        token: config.token.clone(),
        capabilities: Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: Vec::new(),
            modes: Vec::new(),
            backend: match config.backend {
                BackendChoice::Cpu => Backend::Cpu,
                BackendChoice::Cuda => Backend::Cuda,
                BackendChoice::Mock => Backend::Mock,
            },
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: Vec::new(),
            unavailable_reason: Some("only checks the connection".to_owned()),
        },
        held: Vec::new(),
    };
    match link::greet(&endpoints.websocket, &Trust::new(config.tls.clone()), hello).await {
        Ok(version) => Ok(format!("version {version} at {address} accepts this worker")),
        Err(reason) => Err(format!(
            "{address}: {reason}; start Hierophant, or correct `hierophant_ws_address` or `token`"
        )),
    }
}
