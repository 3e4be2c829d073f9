//! HTTP service over a connection, and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use network_lib::task;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;
use tower::Service;

use super::activity::{Activity, Overdue};
use super::answers::{self, AnswerBudget};
use super::connection::Connection;
use super::pace::{BeyondRate, Pace};
use super::tls::{OverTls, PeerCertificate};
use super::{Port, reserve};
use crate::config::LimitsConfig;
use crate::metrics::{Cut, Metrics, Refused};

/// Maximum number of concurrent requests over one HTTP/2 connection to the HTTP port, where answers may be large.
const HTTP_STREAMS: u32 = 32;

/// For a day, browsers call this host name by TLS only. Longer would bind other services of the host for longer.
const STAY_WITH_TLS: HeaderValue = HeaderValue::from_static("max-age=86400");

/// Time of silence after which an HTTP/2 peer is pinged.
const PING_AFTER: Duration = Duration::from_secs(60);

/// Timeout of the ping's answer.
const PONG_LIMIT: Duration = Duration::from_secs(20);

/// Time for a peer to close the connection after a graceful shutdown.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection ready for requests, with its context.
pub(super) struct Served<I> {
    pub(super) connection: Connection<I>,
    pub(super) activity: Activity,
    pub(super) pace: Pace,
    pub(super) peer: SocketAddr,
    pub(super) certificate: Option<PeerCertificate>,
    pub(super) budget: AnswerBudget,
    /// Whether the connection is one of those that are reserved for workers and operators.
    pub(super) is_reserved: bool,
}

/// Serves requests until one side closes the connection, or a timeout.
pub(super) async fn serve<I>(
    served: Served<I>,
    port: Port,
    router: Router,
    limits: &LimitsConfig,
    metrics: &Metrics,
    stop: &CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Served { connection, activity, pace, peer, certificate, budget, is_reserved } = served;
    let most_fields = limits.max_header_fields.get();
    let over_tls = matches!(connection, Connection::Tls(_)).then_some(OverTls);
    let open = activity.clone();
    let counted = metrics.clone();
    let misplaced = CancellationToken::new();
    let leave = misplaced.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let permit = budget.begin();
        let is_over_budget = permit.is_none();
        let open = open.request(request.version()).holding(permit);
        let charge = pace.begin(&request);
        if charge.is_beyond() {
            request.extensions_mut().insert(BeyondRate);
        }
        describe(&mut request, peer, over_tls, certificate.clone(), budget.clone());
        let too_many = request.headers().len() > most_fields;
        let is_misplaced = is_reserved && !reserve::admits(request.uri().path());
        let (mut router, budget, leave) = (router.clone(), budget.clone(), leave.clone());
        let counted = counted.clone();
        async move {
            let answer = if too_many {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response()
            } else if is_misplaced {
                reserve::refusal()
            } else if is_over_budget {
                counted.connection_refused(Refused::Answers);
                answers::over_budget(port)
            } else {
                match router.call(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                }
            };
            charge.answered(answer.status());
            // A reserved connection is for callers that are admitted.
            if is_reserved && (answer.status().is_client_error() || is_misplaced) {
                leave.cancel();
            }
            let (mut head, body) = budget.count(port, answer).into_parts();
            if over_tls.is_some() {
                head.headers.insert(header::STRICT_TRANSPORT_SECURITY, STAY_WITH_TLS);
            }
            Ok::<_, Infallible>(Response::from_parts(head, open.answered(body)))
        }
    });
    let builder = builder(port, limits);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(connection), service);
    tokio::pin!(connection);
    let mut leaving = false;
    loop {
        tokio::select! {
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%peer, error, "connection broken");
                }
                return;
            }
            () = stop.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = misplaced.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            why = activity.overdue() => match why {
                Overdue::Head => return metrics.connection_cut(Cut::Head),
                Overdue::Stalled => return metrics.connection_cut(Cut::Stalled),
                Overdue::Idle => {
                    metrics.connection_cut(Cut::Idle);
                    connection.as_mut().graceful_shutdown();
                    let goodbye = async {
                        tokio::time::sleep(GOODBYE).await;
                        activity.quiet().await;
                    };
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = goodbye => {}
                    }
                    return;
                }
            }
        }
    }
}

fn builder(port: Port, limits: &LimitsConfig) -> auto::Builder<Tasks> {
    let head = limits.max_head_bytes;
    let streams = match port {
        Port::Grpc => limits.http2_streams.get(),
        Port::Http | Port::Local => limits.http2_streams.get().min(HTTP_STREAMS),
    };
    let mut builder = auto::Builder::new(Tasks);
    if port == Port::Grpc {
        builder = builder.http2_only();
    }
    builder
        .http1()
        // `Activity` has the timeouts; it distinguishes a slow head from an idle connection.
        .header_read_timeout(None)
        .max_headers(limits.max_header_fields.get())
        .max_buf_size(usize::try_from(head).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_LIMIT)
        .max_header_list_size(head)
        .max_concurrent_streams(streams)
        .max_pending_accept_reset_streams(limits.http2_resets.get())
        .max_local_error_reset_streams(limits.http2_resets.get());
    builder
}

/// Adds the facts about the peer to the request's extensions, for handlers.
fn describe(
    request: &mut Request<Incoming>,
    peer: SocketAddr,
    over_tls: Option<OverTls>,
    certificate: Option<PeerCertificate>,
    budget: AnswerBudget,
) {
    // HTTP/2 sends the authority outside the headers; handlers read it as `Host`.
    if request.version() == Version::HTTP_2
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let extensions = request.extensions_mut();
    extensions.insert(ConnectInfo(peer));
    extensions.insert(budget);
    extensions.insert(TcpConnectInfo { local_addr: None, remote_addr: Some(peer) });
    if let Some(over_tls) = over_tls {
        extensions.insert(over_tls);
    }
    if let Some(certificate) = certificate {
        extensions.insert(certificate);
    }
}

/// Executor that runs each request of an HTTP/2 connection in its own task.
#[derive(Debug, Clone, Copy)]
struct Tasks;

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, request: F) {
        drop(task::spawn("request", request));
    }
}
