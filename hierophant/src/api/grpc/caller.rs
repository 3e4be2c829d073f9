//! The caller of a client's call: its token, its IP address, and what it may see.

use std::net::IpAddr;

use hierophant_model::clients::{Client, ClientName, ClientRecords, Signer};
use hierophant_model::records::RequestRecord;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Status};

use crate::api::ClientContext;
use crate::api::auth::AuthError;
use crate::config::AuthMode;
use crate::tokens::Bearer;

/// The caller of a client's call.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    bearer: Option<Bearer>,
    peer: Option<IpAddr>,
}

impl Caller {
    /// The caller of a call that the gate has admitted.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let extensions = request.extensions();
        let peer = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        Self { bearer: extensions.get().cloned(), peer: peer.map(|peer| peer.ip()) }
    }

    /// The signer of a message, which must belong to the client of the caller's token, and call from its networks.
    pub(super) fn signer(
        &self,
        context: &ClientContext,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Signer, Status> {
        let address = context.authenticator.authenticate(message, signature).map_err(denied)?;
        let bound = self.bound();
        let configured = context.clients.name(address);
        if let (Some(bound), Some(configured)) = (bound, configured)
            && **bound != *configured
        {
            return Err(denied(AuthError::OtherClient(address)));
        }
        let signer = Signer {
            address,
            client: bound.cloned(),
            token: self.bearer.as_ref().map(|bearer| bearer.id),
        };
        if !context.clients.calls_from(&context.clients.of_signer(&signer), self.peer) {
            return Err(denied(AuthError::OtherNetwork(address)));
        }
        Ok(signer)
    }

    /// Whether the caller may learn of a request whose id it knows. An id opens a request to every caller, except
    /// from outside of its client's networks, and where a token belongs to another client. A token that is bound to no
    /// client opens what was requested with such tokens.
    pub(super) fn may_read(&self, context: &ClientContext, request: &RequestRecord) -> bool {
        let owner = context.clients.of(request.requester, request.client.as_ref());
        let is_known = match self.bound() {
            Some(bound) => owner == Client::Named(bound.clone()),
            None => context.auth != AuthMode::Token || request.client.is_none(),
        };
        is_known && context.clients.calls_from(&owner, self.peer)
    }

    /// Whether the caller's token shows that a request is its own.
    pub(super) fn owns(&self, context: &ClientContext, request: &RequestRecord) -> bool {
        let Some(bearer) = &self.bearer else { return false };
        let by_token = bearer.client.is_some() || request.token == Some(bearer.id);
        by_token && self.may_read(context, request)
    }

    /// Whether the caller has presented a client token.
    pub(super) const fn has_token(&self) -> bool {
        self.bearer.is_some()
    }

    /// The only requests that a list shows to the caller, if its token is bound to a client.
    pub(super) fn listed(&self, context: &ClientContext) -> Option<ClientRecords> {
        let bound = self.bound()?;
        Some(context.clients.records(&Client::Named(bound.clone())))
    }

    fn bound(&self) -> Option<&ClientName> {
        self.bearer.as_ref()?.client.as_ref()
    }
}

/// Status for a call that is not authenticated or not allowed; both are final for the client.
fn denied(error: AuthError) -> Status {
    match error {
        AuthError::Unauthenticated(_) => Status::unauthenticated(error.to_string()),
        AuthError::NotAllowed(_) | AuthError::OtherClient(_) | AuthError::OtherNetwork(_) => {
            Status::permission_denied(error.to_string())
        }
    }
}
