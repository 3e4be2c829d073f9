//! Who may operate: whoever is on the same machine.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::page::refusal;

/// Headers by which a proxy says that it speaks for somebody else.
const PROXIES: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Lets a call through if it comes from a program on this machine, or from a page that Hierophant itself
/// has served there.
pub(in crate::api::http) async fn operators_only(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match reason_to_refuse(peer.ip(), request.headers()) {
        None => next.run(request).await,
        Some(reason) => refusal(StatusCode::FORBIDDEN, reason).into_response(),
    }
}

/// Why a call does not come from a program on this machine, or from a page that Hierophant itself has served
/// there.
pub(in crate::api::http) fn reason_to_refuse(
    peer: IpAddr,
    headers: &HeaderMap,
) -> Option<&'static str> {
    if !peer.to_canonical().is_loopback() {
        return Some("only from the machine that Hierophant runs on");
    }
    if PROXIES.iter().any(|name| headers.contains_key(*name)) {
        return Some("not through a proxy: it would let everybody in");
    }
    // A page of another site can make a browser on this machine call us: by our own address, then its
    // `Origin` is foreign, or by a name of its own that it lets point here, then `Host` is.
    let Some(host) = text(headers, header::HOST).filter(|host| is_here(host)) else {
        return Some("not by this name: use localhost or 127.0.0.1");
    };
    match text(headers, header::ORIGIN) {
        Some(origin) if ["http", "https"].iter().all(|own| origin != format!("{own}://{host}")) => {
            Some("not from a page of another site")
        }
        _ => None,
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether an authority such as `localhost:9010` or `[::1]:9010` means this machine.
fn is_here(authority: &str) -> bool {
    let Ok(uri) = format!("http://{authority}/").parse::<Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

    fn refused(peer: IpAddr, headers: &[(&'static str, &str)]) -> Option<&'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header"));
        }
        reason_to_refuse(peer, &map)
    }

    #[test]
    fn programs_and_own_pages_on_this_machine_are_let_through() {
        for host in ["localhost:9010", "127.0.0.1:9010", "[::1]:9010"] {
            assert_eq!(refused(HERE, &[("host", host)]), None);
        }
        let own = [("host", "localhost:9010"), ("origin", "http://localhost:9010")];
        assert_eq!(refused(HERE, &own), None);
        let under_tls = [("host", "localhost:9010"), ("origin", "https://localhost:9010")];
        assert_eq!(refused(HERE, &under_tls), None);
    }

    #[test]
    fn others_proxies_and_foreign_pages_are_not() {
        assert!(refused(THERE, &[("host", "localhost:9010")]).is_some());
        let proxied = [("host", "localhost:9010"), ("x-forwarded-for", "10.0.0.9")];
        assert!(refused(HERE, &proxied).is_some());
        assert!(refused(HERE, &[("host", "evil.example:9010")]).is_some());
        let foreign = [("host", "localhost:9010"), ("origin", "http://evil.example")];
        assert!(refused(HERE, &foreign).is_some());
        assert!(refused(HERE, &[]).is_some());
    }
}
