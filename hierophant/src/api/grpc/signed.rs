//! The envelope of a signed call.

use alloy_primitives::Address;
use hierophant_proto::network::{MessageFormat, SignedRequest};
use tonic::Status;

use crate::api::auth::{AuthError, Authenticator};

/// The body of a signed call, and its signer.
#[derive(Debug)]
pub(super) struct SignedBody {
    pub(super) signer: Address,
    pub(super) body: Vec<u8>,
}

/// Checks the format and the signature of a call.
pub(super) fn open(
    authenticator: &Authenticator,
    request: SignedRequest,
) -> Result<SignedBody, Status> {
    if request.format != MessageFormat::Binary as i32 {
        return Err(Status::invalid_argument(format!(
            "unsupported message format {}: expected the binary encoding (format 1)",
            request.format
        )));
    }
    let signer = authenticator.authenticate(&request.body, &request.signature).map_err(denied)?;
    Ok(SignedBody { signer, body: request.body })
}

/// Status for a call that is not authenticated or not allowed; both are final for the client.
pub(super) fn denied(error: AuthError) -> Status {
    match error {
        AuthError::Unauthenticated(_) => Status::unauthenticated(error.to_string()),
        AuthError::NotAllowed(_) => Status::permission_denied(error.to_string()),
    }
}
