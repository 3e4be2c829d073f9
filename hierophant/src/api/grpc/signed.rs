//! Opening the envelope of a signed call.

use alloy_primitives::Address;
use hierophant_proto::network::{MessageFormat, SignedRequest};
use tonic::Status;

use crate::api::auth::{AuthError, Authenticator};

/// A signed body and who signed it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) signer: Address,
    pub(super) body: Vec<u8>,
}

/// Checks format and signature.
pub(super) fn open(
    authenticator: &Authenticator,
    request: SignedRequest,
) -> Result<Opened, Status> {
    if request.format != MessageFormat::Binary as i32 {
        return Err(Status::invalid_argument(format!(
            "message format {} is not supported; sign the binary encoding (format 1)",
            request.format
        )));
    }
    let signer = authenticator.authenticate(&request.body, &request.signature).map_err(denied)?;
    Ok(Opened { signer, body: request.body })
}

/// Status for a call that is not authenticated or not allowed; both are final for the client.
pub(super) fn denied(error: AuthError) -> Status {
    match error {
        AuthError::Unauthenticated(_) => Status::unauthenticated(error.to_string()),
        AuthError::NotAllowed(_) => Status::permission_denied(error.to_string()),
    }
}
