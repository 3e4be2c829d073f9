//! Bearer tokens in HTTP headers.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The token that a call presents in `Authorization: Bearer`; other schemes are ignored. A header that is not
/// text, or has no token, counts as an empty token, which is never valid.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().unwrap_or("Bearer");
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_what_follows_bearer() {
        let read = |value: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header"));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read(b"Bearer abc").as_deref(), Some("abc"));
        assert_eq!(read(b"bearer abc").as_deref(), Some("abc"));
        assert_eq!(read(b"Bearer").as_deref(), Some(""));
        assert_eq!(read(b"Basic abc"), None);
        assert_eq!(read(b"\xff").as_deref(), Some(""));
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_token_is_presented_by_a_header_of_its_scheme() {
        for (value, found) in [
            ("Bearer hpt_a", Some("hpt_a")),
            ("bearer  hpt_a ", Some("hpt_a")),
            ("Basic hpt_a", None),
            ("hpt_a", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(bearer(&headers), found, "{value}");
        }
    }
}
