use std::net::Ipv4Addr;

use axum::body::Body;

use super::*;
use crate::api::http::local::PROXY_HEADERS;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

fn call(headers: &[(&'static str, &str)]) -> Request {
    let mut call = Request::new(Body::empty());
    for (name, value) in headers {
        call.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    call
}

/// Metric name of the reason for which a call without a token is rejected.
fn refused(peer: IpAddr, headers: &[(&'static str, &str)]) -> Option<&'static str> {
    let call = call(headers);
    let denied = reason_to_refuse(peer, false, call.headers(), &origin::of(&call));
    denied.map(|denied| denied.kind())
}

#[test]
fn programs_and_own_pages_on_this_machine_are_let_through() {
    for host in ["localhost:9010", "127.0.0.1:9010", "[::1]:9010"] {
        assert_eq!(refused(HERE, &[("host", host)]), None);
    }
    let own = [("host", "localhost:9010"), ("origin", "http://localhost:9010")];
    assert_eq!(refused(HERE, &own), None);
    let typed = [("host", "localhost:9010"), ("sec-fetch-site", "none")];
    assert_eq!(refused(HERE, &typed), None);
}

#[test]
fn others_proxies_and_foreign_pages_are_not() {
    assert_eq!(refused(THERE, &[("host", "localhost:9010")]), Some("no_token"));
    for header in PROXY_HEADERS {
        let proxied = [("host", "localhost:9010"), (header, "10.0.0.9")];
        assert_eq!(refused(HERE, &proxied), Some("no_token"), "{header}");
    }
    assert_eq!(refused(HERE, &[("host", "evil.example:9010")]), Some("no_token"));
    assert_eq!(refused(HERE, &[]), Some("no_token"));
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "http://localhost:9011"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let foreign = [("host", "localhost:9010"), (name, value)];
        assert_eq!(refused(HERE, &foreign), Some("foreign_page"), "{name}: {value}");
    }
}

#[test]
fn where_a_token_is_required_this_machine_needs_one_too() {
    let call = call(&[("host", "localhost:9010")]);
    let denied = reason_to_refuse(HERE, true, call.headers(), &origin::of(&call));
    assert!(matches!(denied, Some(Denied::NoToken(text)) if text.contains("require_token")));
}

#[test]
fn get_requires_read_and_everything_else_requires_act() {
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(required(&method, "/api/v1/jobs"), Permission::Read);
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        assert_eq!(required(&method, "/api/v1/tokens/session"), Permission::Act, "{method}");
    }
    assert_eq!(required(&Method::POST, "/api/v1/session"), Permission::None);
    assert_eq!(required(&Method::DELETE, "/api/v1/session"), Permission::Read);
    assert_eq!(required(&Method::PUT, "/api/v1/session"), Permission::Act);
}

#[test]
fn foreign_and_own_pages_are_recognised_by_their_headers() {
    let host = ("host", "proofs.example");
    for (headers, foreign, own) in [
        (&[host][..], false, false),
        (&[host, ("origin", "https://proofs.example")], false, true),
        (&[host, ("origin", "http://proofs.example")], false, true),
        (&[host, ("sec-fetch-site", "same-origin")], false, true),
        (&[host, ("sec-fetch-site", "none")], false, false),
        (&[host, ("origin", "https://proofs.example:444")], true, false),
        (&[host, ("origin", "https://evil.proofs.example")], true, false),
        (&[host, ("origin", "null")], true, false),
        (&[host, ("sec-fetch-site", "cross-site")], true, false),
        // A proxy that changes `Host`.
        (&[("host", "a"), ("origin", "https://b"), ("sec-fetch-site", "same-origin")], false, true),
    ] {
        let call = call(headers);
        let from = origin::of(&call);
        assert_eq!((from.is_foreign(), from.is_own()), (foreign, own), "{headers:?}");
    }
}

#[test]
fn over_tls_a_page_loaded_without_tls_is_foreign() {
    let secure = ("x-forwarded-proto", "https");
    let call = call(&[("host", "proofs.example"), ("origin", "http://proofs.example"), secure]);
    assert!(origin::of(&call).is_foreign());
}
