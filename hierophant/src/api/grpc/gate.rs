//! Access control in front of both gRPC services: call rate of each IP address, and access tokens.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;
use tonic::transport::server::TcpConnectInfo;

use super::stream_age;
use crate::api::ClientContext;
use crate::api::bearer::bearer;
use crate::config::AuthMode;
use crate::listen::BeyondRate;
use crate::tokens::{Bearer, Role, Tokens};

/// Services that may need a token. Health and reflection are public, but have a rate too.
const SERVICES: [&str; 2] = ["/network.ProverNetwork/", "/artifact.ArtifactStore/"];

/// Rules of the gate.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    token_required: bool,
    tokens: Tokens,
}

impl Gate {
    /// Rules as configured.
    #[must_use]
    pub(super) fn new(context: &ClientContext) -> Self {
        let token_required = context.auth == AuthMode::Token;
        if token_required && !context.tokens.any(|role| role == Role::Client) {
            tracing::warn!(
                "all gRPC calls are rejected: `auth` is \"token\" and there is no client token; create \
                 one: hierophant token create --role client --name NAME"
            );
        }
        Self { token_required, tokens: context.tokens.clone() }
    }

    /// The token of an admitted call, if it presents one.
    fn admit(&self, request: &Request) -> Result<Option<Bearer>, Status> {
        if request.extensions().get::<BeyondRate>().is_some() {
            let text = "too many calls from this IP address; try again later";
            return Err(Status::unavailable(text));
        }
        if is_public(request) {
            return Ok(None);
        }
        match bearer(request.headers()) {
            None if self.token_required => {
                Err(Status::unauthenticated("missing client token: expected a bearer token"))
            }
            None => Ok(None),
            // A presented token must be valid even if none is required.
            Some(secret) => match self.tokens.bearer(secret) {
                Some(bearer) if bearer.role == Role::Client => {
                    let peer = request.extensions().get::<TcpConnectInfo>();
                    if let Some(peer) = peer.and_then(TcpConnectInfo::remote_addr) {
                        self.tokens.used(bearer.id, peer.ip());
                    }
                    Ok(Some(bearer))
                }
                _ => Err(Status::unauthenticated("unknown or revoked client token")),
            },
        }
    }
}

/// Rejects a call, or passes it on with its [`Bearer`] as an extension.
pub(super) async fn admitted(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_public = is_public(&request);
    match gate.admit(&request) {
        Ok(bearer) => {
            if let Some(bearer) = bearer {
                request.extensions_mut().insert(bearer);
            }
            let response = next.run(request).await;
            if is_public { stream_age::bounded(response) } else { response }
        }
        Err(status) => status.into_http(),
    }
}

/// Whether a call needs no token in any mode.
fn is_public(request: &Request) -> bool {
    !SERVICES.iter().any(|service| request.uri().path().starts_with(service))
}
