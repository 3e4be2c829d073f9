//! The rule for callers on this machine, which operators' pages and workers share: a loopback address is not enough,
//! because proxies and browsers on this machine have one too.

pub(super) mod origin;

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::text_response;
use crate::metrics::Metrics;
use origin::Origin;

/// Name in metrics of a worker's call that a web page makes.
const BROWSER: &str = "browser";

/// Headers that a proxy adds.
pub(super) const PROXY_HEADERS: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Why a call does not count as one of a program on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotLocal {
    /// Its address is that of another machine.
    Address,
    /// It comes through a proxy.
    Proxy,
    /// It names a host other than this machine.
    Host,
    /// A browser makes it for a page of another site.
    ForeignPage,
}

/// Why a call is not one of a program on this machine, or of a page that Hierophant served to it; `None` if it is.
pub(super) fn reason_to_refuse(
    peer: IpAddr,
    headers: &HeaderMap,
    from: &Origin<'_>,
) -> Option<NotLocal> {
    if !peer.to_canonical().is_loopback() {
        return Some(NotLocal::Address);
    }
    if PROXY_HEADERS.iter().any(|name| headers.contains_key(*name)) {
        return Some(NotLocal::Proxy);
    }
    // A page of another site can make a browser on this machine call Hierophant: by a local address, and then
    // `Origin` is foreign, or by a host name of its own that resolves to this machine, and then `Host` is.
    if !from.is_by_local_name() {
        return Some(NotLocal::Host);
    }
    from.is_foreign().then_some(NotLocal::ForeignPage)
}

/// Where a worker's call comes from: this machine, or the reason why it does not count as local.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerOrigin(pub(super) Option<NotLocal>);

impl WorkerOrigin {
    /// Whether the call comes from a program on this machine, as far as the call shows.
    pub(super) const fn is_local(self) -> bool {
        self.0.is_none()
    }
}

/// Rejects calls that a browser makes for a web page, because no worker is one, and passes others on with their
/// [`WorkerOrigin`] as an extension.
pub(super) async fn of_workers(
    State(metrics): State<Metrics>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        metrics.worker_refused(BROWSER);
        return text_response(
            StatusCode::FORBIDDEN,
            "call rejected: it comes from a web page, expected a worker",
        );
    }
    let reason = reason_to_refuse(peer.ip(), headers, &origin::of(&request));
    request.extensions_mut().insert(WorkerOrigin(reason));
    next.run(request).await
}

impl NotLocal {
    /// The reason, for the refusal of a worker.
    pub(super) const fn of_worker(self) -> &'static str {
        match self {
            Self::Address => "this one connects from another machine",
            Self::Proxy => "this one connects through a proxy",
            Self::Host => {
                "this one uses a host name that is not local: expected localhost or 127.0.0.1"
            }
            Self::ForeignPage => "this one is a web page",
        }
    }
}
