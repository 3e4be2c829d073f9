//! The envelope of a signed call.

use hierophant_model::clients::Signer;
use hierophant_proto::network::{MessageFormat, SignedRequest};
use tonic::Status;

use super::caller::Caller;
use crate::api::ClientContext;

/// The body of a signed call, and its signer.
#[derive(Debug)]
pub(super) struct SignedBody {
    pub(super) signer: Signer,
    pub(super) body: Vec<u8>,
}

/// Checks the format and the signature of a call.
pub(super) fn open(
    context: &ClientContext,
    caller: &Caller,
    request: SignedRequest,
) -> Result<SignedBody, Status> {
    if request.format != MessageFormat::Binary as i32 {
        return Err(Status::invalid_argument(format!(
            "unsupported message format {}: expected the binary encoding (format 1)",
            request.format
        )));
    }
    let signer = caller.signer(context, &request.body, &request.signature)?;
    Ok(SignedBody { signer, body: request.body })
}
