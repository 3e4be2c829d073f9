//! Conversion between client messages and records. It alone decides what a client sees (contract, section 5).

use alloy_primitives::Address;
use hierophant_model::clients::Signer;
use hierophant_model::records::{Millis, RequestRecord, RequestState, RequestView};
use hierophant_proto::network as pb;
use network_lib::ids::{RequestId, Sha256Digest, VkHash};
use network_lib::job::{ExecutionFailureCause, FailureClass, ProofMode};
use tonic::Status;

use crate::admission::{self, ProofRequest, Reference};
use crate::api::classify::Classified;
use crate::api::urls::{CalledAuthority, PublicUrls, artifact_of};

/// Seconds by which the reported deadline of an ended request lies in the future. SDKs before 6.2.0 drop a
/// fulfilled proof that they poll after its deadline (contract, section 5.1).
const DEADLINE_MARGIN_SECONDS: u64 = 3600;

/// A placeholder transaction hash: this network has no chain, and clients expect exactly 32 bytes.
pub(super) fn no_transaction() -> Vec<u8> {
    vec![0; 32]
}

pub(super) fn mode_from(number: i32) -> Option<ProofMode> {
    match pb::ProofMode::try_from(number).ok()? {
        pb::ProofMode::UnspecifiedProofMode => None,
        pb::ProofMode::Core => Some(ProofMode::Core),
        pb::ProofMode::Compressed => Some(ProofMode::Compressed),
        pb::ProofMode::Plonk => Some(ProofMode::Plonk),
        pb::ProofMode::Groth16 => Some(ProofMode::Groth16),
    }
}

const fn mode_to(mode: ProofMode) -> pb::ProofMode {
    match mode {
        ProofMode::Core => pb::ProofMode::Core,
        ProofMode::Compressed => pb::ProofMode::Compressed,
        ProofMode::Plonk => pb::ProofMode::Plonk,
        ProofMode::Groth16 => pb::ProofMode::Groth16,
    }
}

pub(super) const fn cause_from(cause: pb::ExecuteFailureCause) -> Option<ExecutionFailureCause> {
    use ExecutionFailureCause as Cause;
    use pb::ExecuteFailureCause as Wire;
    Some(match cause {
        Wire::UnspecifiedExecutionFailureCause => return None,
        Wire::HaltWithNonZeroExitCode => Cause::HaltWithNonZeroExitCode,
        Wire::InvalidMemoryAccess => Cause::InvalidMemoryAccess,
        Wire::UnsupportedSyscall => Cause::UnsupportedSyscall,
        Wire::Breakpoint => Cause::Breakpoint,
        Wire::ExceededCycleLimit => Cause::ExceededCycleLimit,
        Wire::InvalidSyscallUsage => Cause::InvalidSyscallUsage,
        Wire::Unimplemented => Cause::Unimplemented,
        Wire::EndInUnconstrained => Cause::EndInUnconstrained,
        Wire::ExceededGasLimit => Cause::ExceededGasLimit,
    })
}

const fn cause_to(cause: ExecutionFailureCause) -> pb::ExecuteFailureCause {
    use ExecutionFailureCause as Cause;
    use pb::ExecuteFailureCause as Wire;
    match cause {
        Cause::HaltWithNonZeroExitCode => Wire::HaltWithNonZeroExitCode,
        Cause::InvalidMemoryAccess => Wire::InvalidMemoryAccess,
        Cause::UnsupportedSyscall => Wire::UnsupportedSyscall,
        Cause::Breakpoint => Wire::Breakpoint,
        Cause::ExceededCycleLimit => Wire::ExceededCycleLimit,
        Cause::InvalidSyscallUsage => Wire::InvalidSyscallUsage,
        Cause::Unimplemented => Wire::Unimplemented,
        Cause::EndInUnconstrained => Wire::EndInUnconstrained,
        Cause::ExceededGasLimit => Wire::ExceededGasLimit,
    }
}

/// Request states that are reported as this fulfilment status: an accepted request is ASSIGNED at once, every
/// end other than success is UNFULFILLABLE, and REQUESTED is never reported.
pub(super) fn states_of(status: pb::FulfillmentStatus) -> Vec<RequestState> {
    match status {
        pb::FulfillmentStatus::Assigned => vec![RequestState::Open],
        pb::FulfillmentStatus::Fulfilled => vec![RequestState::Fulfilled],
        pb::FulfillmentStatus::Unfulfillable => vec![
            RequestState::Unexecutable,
            RequestState::Failed,
            RequestState::Cancelled,
            RequestState::Expired,
        ],
        pb::FulfillmentStatus::UnspecifiedFulfillmentStatus | pb::FulfillmentStatus::Requested => {
            vec![]
        }
    }
}

/// Request states that are reported with this error; `None` if there are none. A failed request is listed with
/// PROVING_FAILURE also if it is reported with PUBLIC_VALUES_MISMATCH.
pub(super) fn states_with_error(error: pb::ProofRequestError) -> Option<Vec<RequestState>> {
    Some(match error {
        pb::ProofRequestError::UnspecifiedProofRequestFailure => {
            vec![RequestState::Open, RequestState::Fulfilled, RequestState::Cancelled]
        }
        pb::ProofRequestError::ExecutionFailure => vec![RequestState::Unexecutable],
        pb::ProofRequestError::ProvingFailure => vec![RequestState::Failed],
        pb::ProofRequestError::UnknownFailure => vec![RequestState::Expired],
        _ => return None,
    })
}

/// Whether a request has failed because of the public values that it states: its workers agree on others.
fn has_wrong_statement(view: &RequestView) -> bool {
    let RequestView { request, job } = view;
    let by_request = job.failure.as_ref().is_some_and(|it| it.class == FailureClass::Request);
    let found = job.execution.map(|found| found.public_values_hash);
    request.state == RequestState::Failed
        && by_request
        && request.stated_digest.is_some_and(|stated| found.is_some_and(|found| found != stated))
}

fn error_of(view: &RequestView) -> pb::ProofRequestError {
    match view.request.state {
        _ if has_wrong_statement(view) => pb::ProofRequestError::PublicValuesMismatch,
        RequestState::Open | RequestState::Fulfilled | RequestState::Cancelled => {
            pb::ProofRequestError::UnspecifiedProofRequestFailure
        }
        RequestState::Unexecutable => pb::ProofRequestError::ExecutionFailure,
        RequestState::Failed => pb::ProofRequestError::ProvingFailure,
        RequestState::Expired => pb::ProofRequestError::UnknownFailure,
    }
}

const fn fulfillment_of(state: RequestState) -> pb::FulfillmentStatus {
    match state {
        RequestState::Open => pb::FulfillmentStatus::Assigned,
        RequestState::Fulfilled => pb::FulfillmentStatus::Fulfilled,
        RequestState::Unexecutable
        | RequestState::Failed
        | RequestState::Cancelled
        | RequestState::Expired => pb::FulfillmentStatus::Unfulfillable,
    }
}

const fn execution_of(view: &RequestView) -> pb::ExecutionStatus {
    match (view.request.state, &view.job.execution) {
        (RequestState::Unexecutable, _) => pb::ExecutionStatus::Unexecutable,
        (_, Some(_)) => pb::ExecutionStatus::Executed,
        (_, None) => pb::ExecutionStatus::Unexecuted,
    }
}

/// The deadline reported to a client: its own while the request is open, and one in the future once the request
/// has ended, so that the client reads the outcome instead of timing out.
fn deadline_of(request: &RequestRecord, now: Millis) -> u64 {
    if request.state.is_terminal() && request.state != RequestState::Expired {
        request.deadline.max(now.seconds() + DEADLINE_MARGIN_SECONDS)
    } else {
        request.deadline
    }
}

/// Response to a status call.
pub(super) fn status(
    view: &RequestView,
    urls: &PublicUrls,
    called: Option<&CalledAuthority>,
    now: Millis,
) -> pb::GetProofRequestStatusResponse {
    let fulfilled = view.request.state == RequestState::Fulfilled;
    let proof = view.job.proof.filter(|_| fulfilled).map(|id| urls.artifact(called, id));
    pb::GetProofRequestStatusResponse {
        fulfillment_status: fulfillment_of(view.request.state) as i32,
        execution_status: execution_of(view) as i32,
        request_tx_hash: no_transaction(),
        deadline: deadline_of(&view.request, now),
        fulfill_tx_hash: fulfilled.then(no_transaction),
        proof_uri: proof.clone(),
        public_values_hash: view.job.execution.map(|found| found.public_values_hash.0.to_vec()),
        proof_public_uri: proof,
    }
}

/// Response to a status call for an unknown id: final, so that one id does not stall a client with many
/// requests (contract, pitfall 16).
pub(super) fn unknown_status(now: Millis) -> pb::GetProofRequestStatusResponse {
    pb::GetProofRequestStatusResponse {
        fulfillment_status: pb::FulfillmentStatus::Unfulfillable as i32,
        execution_status: pb::ExecutionStatus::Unexecuted as i32,
        request_tx_hash: no_transaction(),
        deadline: now.seconds() + DEADLINE_MARGIN_SECONDS,
        ..Default::default()
    }
}

/// All fields of a request, except the tags that the two modes decode differently.
pub(super) fn details(
    view: &RequestView,
    urls: &PublicUrls,
    called: Option<&CalledAuthority>,
    now: Millis,
) -> pb::ProofRequest {
    let RequestView { request, job } = view;
    let program_uri = urls.artifact(called, job.program);
    // Its own upload: the job may have that of another client, with the same content.
    let stdin = artifact_of(&request.stdin_uri).filter(|_| !request.stdin_private);
    let stdin_public_uri = stdin.map(|id| urls.artifact(called, id)).unwrap_or_default();
    let has_failed = matches!(request.state, RequestState::Unexecutable | RequestState::Failed);
    let failure = job.failure.as_ref().filter(|_| has_failed);
    let cause = failure
        .filter(|failure| matches!(failure.class, FailureClass::Guest | FailureClass::Request))
        .and_then(|failure| failure.cause);
    pb::ProofRequest {
        request_id: request.id.0.to_vec(),
        vk_hash: job.spec.vk_hash.0.to_vec(),
        version: request.version.clone(),
        mode: mode_to(job.spec.mode) as i32,
        strategy: request.strategy,
        program_uri: program_uri.clone(),
        stdin_uri: request.stdin_uri.clone(),
        deadline: deadline_of(request, now),
        cycle_limit: job.spec.cycle_limit,
        gas_price: None,
        fulfillment_status: fulfillment_of(request.state) as i32,
        execution_status: execution_of(view) as i32,
        requester: request.requester.to_vec(),
        fulfiller: None,
        program_name: None,
        requester_name: None,
        fulfiller_name: job.prover.as_ref().map(|prover| prover.name.clone()),
        created_at: request.created_at.seconds(),
        updated_at: request.updated_at.max(job.updated_at).seconds(),
        fulfilled_at: request.fulfilled_at.map(Millis::seconds),
        tx_hash: no_transaction(),
        cycles: job.execution.map(|found| found.cycles),
        public_values_hash: job.execution.map(|found| found.public_values_hash.0.to_vec()),
        deduction_amount: None,
        refund_amount: None,
        gas_limit: job.spec.gas_limit,
        gas_used: job.execution.and_then(|found| found.gas),
        execute_fail_cause: cause.map_or(0, |cause| cause_to(cause) as i32),
        settlement_status: pb::SettlementStatus::Unsettled as i32,
        program_public_uri: program_uri,
        stdin_public_uri,
        min_auction_period: request.min_auction_period,
        whitelist: request.whitelist.iter().map(|address| address.to_vec()).collect(),
        error: error_of(view) as i32,
        is_canceled: request.state == RequestState::Cancelled,
        stdin_private: request.stdin_private,
        error_trace: failure.map(|failure| failure.message.clone().into_bytes()),
    }
}

/// A request as shown to a caller whose token does not show that it is the owner: without the URI of a private input.
pub(super) fn without_private_input(mut request: pb::ProofRequest) -> pb::ProofRequest {
    if request.stdin_private {
        request.stdin_uri.clear();
    }
    request
}

/// A request as listed for callers whom it does not concern: what the network does, and not for whom. The start of its
/// id, its state, its times, and the kind of proof.
pub(super) fn for_strangers(mut request: pb::ProofRequest) -> pb::ProofRequest {
    if let Some(rest) = request.request_id.get_mut(8..) {
        rest.fill(0);
    }
    pb::ProofRequest {
        request_id: request.request_id,
        version: request.version,
        mode: request.mode,
        strategy: request.strategy,
        deadline: request.deadline,
        fulfillment_status: request.fulfillment_status,
        execution_status: request.execution_status,
        created_at: request.created_at,
        updated_at: request.updated_at,
        fulfilled_at: request.fulfilled_at,
        tx_hash: request.tx_hash,
        settlement_status: request.settlement_status,
        error: request.error,
        is_canceled: request.is_canceled,
        stdin_private: request.stdin_private,
        ..pb::ProofRequest::default()
    }
}

/// The proof request in a classified body.
pub(super) fn proof_request(signer: Signer, found: Classified) -> Result<ProofRequest, Status> {
    let Classified { body, network_mode, stdin_private } = found;
    admission::check_whitelist(body.whitelist.len())?;
    let whitelist = body.whitelist.iter().map(|bytes| address("whitelist", bytes));
    let mode = mode_from(body.mode).ok_or_else(|| {
        Status::invalid_argument(format!("unknown proof mode {}: expected 1 to 4", body.mode))
    })?;
    let stated_digest = body.public_values_hash.as_deref().map(stated_digest).transpose()?;
    Ok(ProofRequest {
        signer,
        vk_hash: vk_hash(&body.vk_hash)?,
        mode,
        whitelist: whitelist.collect::<Result<_, _>>()?,
        version: body.version,
        cycle_limit: body.cycle_limit,
        gas_limit: body.gas_limit,
        stdin: reference("stdin_uri", body.stdin_uri),
        stdin_private,
        stated_digest,
        network_mode,
        strategy: body.strategy,
        deadline: body.deadline,
        min_auction_period: body.min_auction_period,
    })
}

/// The artifact reference in a field.
pub(super) fn reference(field: &'static str, uri: String) -> Reference {
    Reference { field, artifact: artifact_of(&uri), uri }
}

/// Parses a program id.
pub(super) fn vk_hash(bytes: &[u8]) -> Result<VkHash, Status> {
    VkHash::try_from(bytes).map_err(|error| Status::invalid_argument(format!("vk_hash: {error}")))
}

/// Parses the digest of public values that a client states.
fn stated_digest(bytes: &[u8]) -> Result<Sha256Digest, Status> {
    Sha256Digest::try_from(bytes)
        .map_err(|error| Status::invalid_argument(format!("public_values_hash: {error}")))
}

/// Parses an address.
pub(super) fn address(field: &str, bytes: &[u8]) -> Result<Address, Status> {
    Address::try_from(bytes).map_err(|_| {
        let length = bytes.len();
        Status::invalid_argument(format!(
            "invalid {field} ({length} bytes): expected an address of 20 bytes"
        ))
    })
}

/// Status for a body that is not a message of the call.
pub(super) fn undecodable(error: prost::DecodeError) -> Status {
    Status::invalid_argument(format!("invalid body: {error}"))
}

/// Parses a request id.
pub(super) fn request_id(bytes: &[u8]) -> Result<RequestId, Status> {
    RequestId::try_from(bytes)
        .map_err(|error| Status::invalid_argument(format!("request_id: {error}")))
}
