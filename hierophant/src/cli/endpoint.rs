//! Where the running Hierophant is, and whom to believe that it is the one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use reqwest::header::{HOST, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder};

use crate::config::Config;
use crate::listen;

/// How a running Hierophant is reached.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// Its address, without a slash at its end.
    pub(super) url: String,
    authorities: Vec<Certificate>,
    /// On this machine it is called by the name in its certificate, which may lead elsewhere.
    here: Option<(String, u16)>,
}

impl Reach {
    /// By `--url` and `--ca`; without the former, on this machine as the configuration says.
    pub(super) fn of(
        url: Option<&str>,
        ca: Option<&Path>,
        config: &Config,
    ) -> Result<Self, String> {
        let port = config.http_port;
        let named = config.tls.certificate.as_deref().filter(|_| url.is_none());
        let name = named.map(listen::name_in).transpose()?;
        let url = match (url, &name) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(name)) => format!("https://{name}:{port}"),
            (None, None) => format!("http://127.0.0.1:{port}"),
        };
        let authorities = ca.map(authorities).transpose()?.unwrap_or_default();
        Ok(Self { url, authorities, here: name.map(|name| (name, port)) })
    }

    /// What a client is made from.
    pub(super) fn client(&self) -> ClientBuilder {
        let mut client = Client::builder();
        for authority in &self.authorities {
            client = client.add_root_certificate(authority.clone());
        }
        let Some((name, port)) = &self.here else { return client };
        // Without a token, operators are let in by a name of this machine only.
        let host = HeaderValue::from_str(&format!("localhost:{port}"));
        let headers = host.into_iter().map(|host| (HOST, host)).collect::<HeaderMap>();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        client.resolve(name, loopback).default_headers(headers).http1_only()
    }
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, String> {
    let place = file.display();
    let pem = std::fs::read(file).map_err(|error| format!("{place} cannot be read: {error}"))?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|error| format!("{place} holds no certificates in PEM: {error}"))?;
    if found.is_empty() {
        return Err(format!("{place} holds no certificates in PEM"));
    }
    Ok(found)
}
