//! Origin of a call, as stated by a browser: the host name that was called, and the site of the calling page.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use crate::listen::OverTls;

/// Origin of a call.
#[derive(Debug)]
pub(in crate::api::http) struct Origin<'a> {
    /// Name and port that were called.
    host: Option<&'a str>,
    /// Site of the calling page.
    origin: Option<&'a str>,
    /// Relation of both: `same-origin`, `same-site`, `cross-site`, or `none` for an address typed by the user.
    relation: Option<&'a str>,
    /// Whether the call came over TLS.
    secure: bool,
}

/// The origin in the headers of a call.
pub(in crate::api::http) fn of(request: &Request) -> Origin<'_> {
    let headers = request.headers();
    let authority = request.uri().authority().map(Authority::as_str);
    Origin {
        // HTTP/2 has it in the URI.
        host: text(headers, header::HOST.as_str()).or(authority),
        origin: text(headers, header::ORIGIN.as_str()),
        relation: text(headers, "sec-fetch-site"),
        secure: is_secure(request),
    }
}

impl Origin<'_> {
    /// Whether the page belongs to another site.
    pub(in crate::api::http) fn is_foreign(&self) -> bool {
        match self.relation {
            Some("same-origin") => false,
            None | Some("none") => self.origin.is_some() && !self.is_same(),
            Some(_) => true,
        }
    }

    /// Whether the page is certainly Hierophant's own.
    pub(in crate::api::http) fn is_own(&self) -> bool {
        !self.is_foreign() && (self.origin.is_some() || self.relation == Some("same-origin"))
    }

    /// Whether the host name denotes this machine, such as `localhost:9010` or `[::1]:9010`.
    pub(in crate::api::http) fn is_by_local_name(&self) -> bool {
        let uri = self.host.and_then(|host| format!("http://{host}/").parse::<Uri>().ok());
        let Some(host) = uri.as_ref().and_then(Uri::host) else { return false };
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Whether the page's site is the host that was called. If the call came over TLS, the page must have been
    /// loaded over TLS too; otherwise a proxy may have terminated TLS.
    fn is_same(&self) -> bool {
        let (Some(origin), Some(host)) = (self.origin, self.host) else { return false };
        match origin.split_once("://") {
            Some(("https", site)) => site == host,
            Some(("http", site)) => site == host && !self.secure,
            _ => false,
        }
    }
}

/// Whether a call came over TLS, terminated here or, as stated by a header, at a proxy. A client that forges the
/// header only gets a cookie that its own browser does not send back.
pub(in crate::api::http) fn is_secure(request: &Request) -> bool {
    let proto = request.headers().get("x-forwarded-proto");
    request.extensions().get::<OverTls>().is_some()
        || proto.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
