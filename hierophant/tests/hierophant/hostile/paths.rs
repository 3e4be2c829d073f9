//! Paths that lead out of where they belong.

use serde_json::Value;

use super::{Fortress, codes};

/// What lies beside the data folder and must not be read.
const CANARY: &str = "the operator's other secret";

/// Ways to say "elsewhere".
const ELSEWHERE: [&str; 18] = [
    "../../canary",
    "..%2f..%2fcanary",
    "%2e%2e%2f%2e%2e%2fcanary",
    "%2e%2e/%2e%2e/canary",
    "%252e%252e%252f%252e%252e%252fcanary",
    "..%5c..%5ccanary",
    "..\\..\\canary",
    "....//....//canary",
    "..%c0%af..%c0%afcanary",
    "..;/..;/canary",
    "%00",
    "canary%00.js",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "%ff%fe",
    ".",
    "tmp",
    "C:%5ccanary",
];

/// Every route with a parameter in its path: those of `/api/v1` from its own description.
fn routes() -> Vec<(&'static str, String)> {
    let mut routes: Vec<(&str, String)> = [
        ("GET", "/artifacts/{}"),
        ("HEAD", "/artifacts/{}"),
        ("PUT", "/artifacts/{}"),
        ("GET", "/leases/{}/program"),
        ("GET", "/leases/{}/stdin"),
        ("PUT", "/leases/{}/proof"),
        ("POST", "/contemplants/{}/drain"),
        ("GET", "/dashboard/{}"),
        ("GET", "/api/v1/docs/{}"),
    ]
    .map(|(method, path)| (method, path.to_owned()))
    .into();
    let description = hierophant::api::http::v1::openapi();
    let description: Value = serde_json::from_str(&description).expect("JSON");
    for (path, calls) in description["paths"].as_object().expect("paths") {
        let Some((before, rest)) = path.split_once('{') else { continue };
        let after = rest.split_once('}').expect("a parameter").1;
        for method in calls.as_object().expect("calls").keys() {
            let method = if method == "get" { "GET" } else { "POST" };
            routes.push((method, format!("{before}{{}}{after}")));
        }
    }
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

#[tokio::test]
async fn no_path_leads_out_of_where_it_belongs() {
    let fortress = Fortress::start().await;
    std::fs::write(fortress.folder().join("canary"), CANARY).expect("writes");
    let before = fortress.other_files();
    fortress
        .besieged(async {
            for (method, route) in routes() {
                for elsewhere in ELSEWHERE {
                    let path = route.replace("{}", elsewhere);
                    let host = fortress.http;
                    let request = format!(
                        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\
                         Connection: close\r\n\r\n{{}}"
                    );
                    let answer = fortress.raw(request.as_bytes()).await;
                    let said = codes(&answer);
                    // Swagger's own folder answers `.` with its page.
                    let page = path.starts_with("/api/v1/docs/");
                    let refused = said.first().is_some_and(|code| (400..500).contains(code));
                    assert!(refused || page, "{method} {path}: {answer}");
                    assert!(!answer.contains(CANARY), "{method} {path} gave the canary away");
                    assert!(!answer.contains("root:"), "{method} {path} gave a file away");
                }
            }
        })
        .await;
    assert_eq!(fortress.other_files(), before, "something was written elsewhere");
    assert_eq!(fortress.half_written(), 0);
}
