//! Addresses in the configuration, of Hierophant and of a prover server.

use std::path::PathBuf;

use network_lib::wire::WEBSOCKET_PATH;
use url::Url;

/// The path in an endpoint such as `unix:///tmp/sp1-cuda-0.sock`; a plain path is accepted too.
#[must_use]
pub fn socket_of(endpoint: &str) -> PathBuf {
    PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint))
}

/// Addresses of Hierophant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The WebSocket for control.
    pub websocket: Url,
    /// Base URL of the paths of programs, inputs and proofs; without a slash at its end.
    pub http: String,
}

/// Derives both addresses from the one that is configured.
///
/// # Errors
///
/// What is wrong with the address and what is expected.
pub fn endpoints(address: &str) -> Result<Endpoints, String> {
    let example = "expected an address like ws://10.0.0.1:9010/ws";
    let mut websocket =
        Url::parse(address).map_err(|error| format!("is not a URL ({error}): {example}"))?;
    let scheme = match websocket.scheme() {
        "ws" => "http",
        "wss" => "https",
        other => return Err(format!("must start with ws:// or wss://, not {other}://: {example}")),
    };
    let Some(host) = websocket.host_str().map(str::to_owned) else {
        return Err(format!("has no host: {example}"));
    };
    if websocket.path() == "/" {
        websocket.set_path(WEBSOCKET_PATH);
    }
    let port = websocket.port().map(|port| format!(":{port}")).unwrap_or_default();
    // Behind a reverse proxy both may have a common prefix.
    let prefix = websocket.path().strip_suffix(WEBSOCKET_PATH).unwrap_or_default();
    let http = format!("{scheme}://{host}{port}{prefix}");
    Ok(Endpoints { websocket, http })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn http_goes_where_the_websocket_goes() {
        let http = |address: &str| endpoints(address).unwrap().http;
        assert_eq!(http("ws://127.0.0.1:9010/ws"), "http://127.0.0.1:9010");
        assert_eq!(http("wss://prover.example.org/ws"), "https://prover.example.org");
        assert_eq!(http("wss://example.org:8443/prover/ws"), "https://example.org:8443/prover");
        assert_eq!(http("ws://[::1]:9010/ws"), "http://[::1]:9010");
        let bare = endpoints("ws://10.0.0.1:9010").unwrap();
        assert_eq!(bare.websocket.as_str(), "ws://10.0.0.1:9010/ws");
        assert!(endpoints("10.0.0.1:9010").is_err());
    }
}
