//! Requests that two servers would take apart differently, and headers without end.

use super::{Fortress, codes};

/// A second request, hidden in what a proxy may parse as the body of the first.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";

/// A request with these lines of header and this body.
fn request(lines: &str, body: &str) -> Vec<u8> {
    format!("PUT /artifacts/none HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn a_request_of_two_lengths_or_none_that_is_certain_is_refused() {
    let fortress = Fortress::start().await;
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let long = HIDDEN.len();
    let cases = [
        ("two lengths", request("Content-Length: 0\r\nContent-Length: 38\r\n", HIDDEN)),
        ("a list of lengths", request("Content-Length: 0, 38\r\n", HIDDEN)),
        ("a signed length", request("Content-Length: +0\r\n", HIDDEN)),
        ("a negative length", request("Content-Length: -1\r\n", HIDDEN)),
        ("a length in hex", request("Content-Length: 0x10\r\n", HIDDEN)),
        ("an empty length", request("Content-Length: \r\n", HIDDEN)),
        ("a length beyond 64 bits", request(&format!("Content-Length: {}0\r\n", u64::MAX), HIDDEN)),
        ("a space before the colon", request("Transfer-Encoding : chunked\r\n", &chunked)),
        ("a folded line", request("X: y\r\n Transfer-Encoding: chunked\r\n", &chunked)),
        ("chunked, but not last", request("Transfer-Encoding: chunked, identity\r\n", &chunked)),
        ("another encoding", request("Transfer-Encoding: xchunked\r\n", &chunked)),
        ("a chunk beyond 64 bits", {
            request("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nx")
        }),
        ("a negative chunk", request("Transfer-Encoding: chunked\r\n", "-1\r\nx")),
        ("a bare CR", request(&format!("X: y\rContent-Length: {long}\r\n"), HIDDEN)),
        ("a zero byte", request("X: \0\r\n", HIDDEN)),
    ];
    fortress
        .besieged(async {
            for (what, bytes) in cases {
                let answer = fortress.raw(&bytes).await;
                let said = codes(&answer);
                let refused = said.len() <= 1 && said.iter().all(|code| (400..500).contains(code));
                assert!(refused, "{what}: {answer}");
                assert!(!answer.contains("no such page"), "{what}: the hidden request was heard");
            }
        })
        .await;
}

/// Both lengths at once: the chunks count, as the standard has it, and the connection ends with the answer, so that
/// nothing hidden is heard.
#[tokio::test]
async fn length_and_chunks_at_once_end_the_connection() {
    let fortress = Fortress::start().await;
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let both = [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked.len()),
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n".to_owned(),
    ];
    fortress
        .besieged(async {
            for lines in both {
                let answer = fortress.raw(&request(&lines, &chunked)).await;
                assert_eq!(codes(&answer).len(), 1, "{lines}: {answer}");
                assert!(!answer.contains("no such page"), "{lines}: the hidden request was heard");
            }
        })
        .await;
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let fortress = Fortress::start().await;
    let long = format!("X: {}\r\n", "y".repeat(8 << 20));
    let many: String = (0..100_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(8 << 20));
    let extension = format!("1;{}\r\n", "x".repeat(8 << 20));
    fortress
        .besieged(async {
            for bytes in [
                request(&long, ""),
                request(&many, ""),
                target.into_bytes(),
                request("Transfer-Encoding: chunked\r\n", &extension),
                request("Transfer-Encoding: chunked\r\n", &format!("0\r\n{many}")),
            ] {
                // A connection that is closed while we still write may lose the answer.
                let said = codes(&fortress.raw(&bytes).await);
                assert!(said.iter().all(|code| (400..500).contains(code)), "{said:?}");
            }
        })
        .await;
}
