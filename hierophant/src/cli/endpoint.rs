//! The endpoint of a running Hierophant: its address, and the certificate authorities to trust.
//!
//! On the same machine that is the Unix socket in the data folder, if this user can open it, else the admin listener or
//! the HTTP port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use axum::http::Uri;
use reqwest::header::{HOST, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder};

use crate::config::Config;
use crate::listen;

/// Endpoint of a running Hierophant.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Address, without a trailing slash.
    pub(super) url: String,
    authorities: Vec<Certificate>,
    /// Name in the certificate and port of the Hierophant on this machine. The name may resolve elsewhere.
    local: Option<(String, u16)>,
    socket: Option<PathBuf>,
}

impl Endpoint {
    /// The endpoint given by `--url` and `--ca`; without the former, the configured one on this machine.
    pub(super) fn new(
        url: Option<&str>,
        ca: Option<&Path>,
        config: &Config,
    ) -> Result<Self, String> {
        let authorities = ca.map(authorities).transpose()?.unwrap_or_default();
        if url.is_none()
            && let Some(socket) = open_socket(config)
        {
            let (url, local) = ("http://localhost".to_owned(), None);
            return Ok(Self { url, authorities, local, socket: Some(socket) });
        }
        let admin = config.operators.admin_address.filter(|_| url.is_none());
        if let Some(admin) = admin.filter(|admin| admin.ip().to_canonical().is_loopback()) {
            let (url, local) = (format!("http://{admin}"), None);
            return Ok(Self { url, authorities, local, socket: None });
        }
        let port = admin.map_or(config.http_port, |admin| admin.port());
        let named = config.tls.certificate.as_deref().filter(|_| url.is_none());
        let name = named.map(listen::name_in).transpose()?;
        let url = match (url, &name) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(name)) => format!("https://{name}:{port}"),
            (None, None) => format!("http://127.0.0.1:{port}"),
        };
        Ok(Self { url, authorities, local: name.map(|name| (name, port)), socket: None })
    }

    /// Whether calls go to another machine without TLS.
    pub(super) fn is_readable_on_the_way(&self) -> bool {
        let Ok(uri) = self.url.parse::<Uri>() else { return false };
        if uri.scheme_str() != Some("http") {
            return false;
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        host != "localhost" && !host.parse().is_ok_and(is_loopback)
    }

    /// Builder of HTTP clients for this endpoint.
    pub(super) fn client(&self) -> ClientBuilder {
        let mut client = Client::builder();
        for authority in &self.authorities {
            client = client.add_root_certificate(authority.clone());
        }
        if let Some(socket) = &self.socket {
            return client.unix_socket(socket.as_path());
        }
        let Some((name, port)) = &self.local else { return client };
        // Without a token, operators are admitted only under a local host name.
        let host = HeaderValue::from_str(&format!("localhost:{port}"));
        let headers = host.into_iter().map(|host| (HOST, host)).collect::<HeaderMap>();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        client.resolve(name, loopback).default_headers(headers).http1_only()
    }
}

/// The socket of the Hierophant with this configuration, if it runs and this user can open it.
fn open_socket(config: &Config) -> Option<PathBuf> {
    let path = listen::AdminSocket::path_in(&config.data_dir);
    UnixStream::connect(&path).is_ok().then_some(path)
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, String> {
    let path = file.display();
    let pem = std::fs::read(file).map_err(|error| format!("cannot read {path}: {error}"))?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|error| format!("invalid file {path}: expected certificates in PEM ({error})"))?;
    if found.is_empty() {
        return Err(format!("invalid file {path}: expected certificates in PEM"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_readable_on_the_way_to_another_machine_without_tls() {
        let config = Config::default();
        let readable = |url: &str| {
            let endpoint = Endpoint::new(Some(url), None, &config).expect("an endpoint");
            endpoint.is_readable_on_the_way()
        };
        for url in
            ["http://10.0.0.9:9010", "http://prover.example.org", "http://[2001:db8::1]:9010"]
        {
            assert!(readable(url), "{url}");
        }
        for url in [
            "https://prover.example.org",
            "http://localhost:9010",
            "http://127.0.0.1:9010/",
            "http://[::1]:9010",
        ] {
            assert!(!readable(url), "{url}");
        }
        let own = Endpoint::new(None, None, &config).expect("an endpoint");
        assert!(!own.is_readable_on_the_way());
    }
}
