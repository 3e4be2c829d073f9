//! The dashboard: a web page that shows the network to operators and sends their commands.
//!
//! The files in `hierophant/dashboard/` are served unchanged and without authentication: they contain no
//! secret, and callers need them to sign in. They call only `/api/v1` and `/proof-history`.

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::{not_found, status};
use crate::api::AdminContext;

/// Content security policy: scripts, styles and data only from Hierophant itself, nothing inline. No other site
/// may show the page in a frame, where it could hijack clicks.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("../../../dashboard/index.html");

/// Name, type and content of the files that the page loads.
macro_rules! files {
    ($($name:literal $kind:literal,)*) => {
        [$(($name, $kind, include_str!(concat!("../../../dashboard/", $name)))),*]
    };
}

const FILES: [(&str, &str, &str); 20] = files![
    "icon.svg" "image/svg+xml",
    "style.css" "text/css",
    "vendor/preact.js" "text/javascript",
    "actions.js" "text/javascript",
    "api.js" "text/javascript",
    "app.js" "text/javascript",
    "audit.js" "text/javascript",
    "charts.js" "text/javascript",
    "fleet.js" "text/javascript",
    "format.js" "text/javascript",
    "history.js" "text/javascript",
    "job.js" "text/javascript",
    "jobs.js" "text/javascript",
    "live.js" "text/javascript",
    "overview.js" "text/javascript",
    "parts.js" "text/javascript",
    "queue.js" "text/javascript",
    "session.js" "text/javascript",
    "tasks.js" "text/javascript",
    "worker.js" "text/javascript",
];

/// Routes of the page at `/` and its files.
pub(super) fn router() -> Router<AdminContext> {
    Router::new().route("/", get(index)).route("/dashboard/{*name}", get(file))
}

/// `GET /`: the dashboard for browsers, the list of pages for other clients.
async fn index(headers: HeaderMap) -> Response {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_browser = accepted.any(|types| types.contains("text/html"));
    let mut response =
        if is_browser { Html(PAGE).into_response() } else { status::INDEX.into_response() };
    protect(&mut response);
    response
}

async fn file(Path(name): Path<String>) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return not_found("no such file of the dashboard");
    };
    let kind = format!("{kind}; charset=utf-8");
    let mut response = ([(CONTENT_TYPE, kind)], *content).into_response();
    protect(&mut response);
    response
}

/// Sets the security headers, and prevents caching, so that no browser uses files of an older version.
fn protect(response: &mut Response) {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (VARY, "accept"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file that a script imports or the page loads is served, and every served file is used.
    #[test]
    fn every_file_is_served_and_used() {
        let names: Vec<&str> = FILES.iter().map(|(name, ..)| *name).collect();
        let mut used = vec![];
        for (place, text) in FILES.iter().map(|(name, _, text)| (*name, *text)).chain([("", PAGE)])
        {
            let quoted = text.split(['"', '\'']).filter(|word| {
                let from = if place.is_empty() { "/dashboard/" } else { "./" };
                word.starts_with(from) && word.contains('.')
            });
            for word in quoted {
                let name = word.trim_start_matches("/dashboard/").trim_start_matches("./");
                assert!(names.contains(&name), "{place} loads {word}");
                used.push(name);
            }
        }
        for name in names {
            assert!(used.contains(&name), "nothing loads {name}");
        }
    }
}
