//! Artifact URLs that clients can reach without configuration.
//!
//! A client knows one name for Hierophant: the host in its RPC URL. The HTTP port has the same name, so
//! artifact URLs are built from the authority that the client called.

use axum::http::uri::Authority;
use network_lib::ids::ArtifactId;

/// The authority of the URL that a gRPC client called, as the transport saw it.
#[derive(Debug, Clone)]
pub struct CalledAuthority(pub Authority);

/// Builds artifact URLs.
#[derive(Debug)]
pub struct PublicUrls {
    configured: Option<String>,
    http_port: u16,
    scheme: &'static str,
}

impl PublicUrls {
    /// URLs below `configured`, or on `http_port` of the host that the client called, under TLS or not.
    #[must_use]
    pub fn new(configured: Option<String>, http_port: u16, tls: bool) -> Self {
        let configured = configured.map(|url| url.trim_end_matches('/').to_owned());
        Self { configured, http_port, scheme: if tls { "https" } else { "http" } }
    }

    /// The URL of an artifact for a client that called `authority`.
    #[must_use]
    pub fn artifact(&self, authority: Option<&CalledAuthority>, id: ArtifactId) -> String {
        let base = self.configured.clone().unwrap_or_else(|| {
            let host = authority.map_or("127.0.0.1", |called| called.0.host());
            format!("{}://{host}:{}", self.scheme, self.http_port)
        });
        format!("{base}/artifacts/{id}")
    }
}

/// The artifact named by a URI from [`PublicUrls::artifact`]. Only the last segment of the path counts, because
/// the rest depends on the name that the client called.
#[must_use]
pub fn artifact_of(uri: &str) -> Option<ArtifactId> {
    uri.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(authority: &'static str) -> CalledAuthority {
        CalledAuthority(Authority::from_static(authority))
    }

    #[test]
    fn urls_follow_the_name_that_the_client_called() {
        let urls = PublicUrls::new(None, 9010, false);
        let id = ArtifactId([0xab; 16]);
        let hex = "ab".repeat(16);
        let url = |authority| urls.artifact(Some(&called(authority)), id);
        assert_eq!(url("prover.local:9000"), format!("http://prover.local:9010/artifacts/{hex}"));
        assert_eq!(url("10.1.2.3:9000"), format!("http://10.1.2.3:9010/artifacts/{hex}"));
        assert_eq!(url("[::1]:9000"), format!("http://[::1]:9010/artifacts/{hex}"));
        assert_eq!(artifact_of(&url("[::1]:9000")), Some(id));
    }

    #[test]
    fn a_configured_url_overrides_it() {
        let urls = PublicUrls::new(Some("https://proofs.example.org/p/".into()), 9010, false);
        let url = urls.artifact(Some(&called("prover.local:9000")), ArtifactId([1; 16]));
        assert_eq!(url, format!("https://proofs.example.org/p/artifacts/{}", "01".repeat(16)));
    }

    #[test]
    fn foreign_uris_name_no_artifact() {
        for uri in ["", "/", "stdins/test", "http://127.0.0.1:9191/a/1795251617119552647"] {
            assert_eq!(artifact_of(uri), None, "{uri}");
        }
    }
}
