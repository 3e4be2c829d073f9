//! The filter of `GetFilteredProofRequests`.

use hierophant_model::records::{ExecutionFilter, Millis, RequestFilter};
use hierophant_proto::network as pb;
use tonic::Status;

use super::convert;
use crate::admission::{self, MAX_VERSION_BYTES};

/// Maximum number of requests in a list, so that a response stays below the client's 4 MiB.
const MAX_ENTRIES: u32 = 1000;

/// Default number of requests in a list.
const DEFAULT_ENTRIES: u32 = 10;

/// The filter that a client asks for; `None` if no request of this network can match.
pub(super) fn filter(
    request: &pb::GetFilteredProofRequestsRequest,
) -> Result<Option<RequestFilter>, Status> {
    let version = request.version.as_deref().unwrap_or_default();
    admission::bounded("version", version.len(), MAX_VERSION_BYTES, "bytes")?;
    let mut filter = RequestFilter {
        version: request.version.clone(),
        minimum_deadline: request.minimum_deadline,
        from: request.from.map(Millis::from_seconds),
        // Up to the end of that second.
        to: request.to.map(|to| Millis(Millis::from_seconds(to).0.saturating_add(999))),
        limit: request.limit.unwrap_or(DEFAULT_ENTRIES).min(MAX_ENTRIES),
        ..RequestFilter::default()
    };
    let page = u64::from(request.page.unwrap_or(1).max(1));
    filter.offset = (page - 1) * u64::from(filter.limit);
    filter.vk_hash = request.vk_hash.as_deref().map(convert::vk_hash).transpose()?;
    let requester = request.requester.as_deref();
    filter.requester = requester.map(|bytes| convert::address("requester", bytes)).transpose()?;
    if let Some(bytes) = &request.not_bid_by {
        // There are no bids here, so every request matches.
        convert::address("not_bid_by", bytes)?;
    }
    if let Some(bytes) = &request.fulfiller {
        // Workers have no address, so no request was fulfilled by one.
        convert::address("fulfiller", bytes)?;
        return Ok(None);
    }
    if request.fulfillment_status.is_some() {
        filter.states = Some(convert::states_of(request.fulfillment_status()));
    }
    if request.error.is_some() {
        let Some(with_error) = convert::states_with_error(request.error()) else {
            return Ok(None);
        };
        filter.states = Some(match filter.states {
            Some(states) => states.into_iter().filter(|s| with_error.contains(s)).collect(),
            None => with_error,
        });
    }
    if request.execution_status.is_some() {
        filter.execution = Some(match request.execution_status() {
            pb::ExecutionStatus::UnspecifiedExecutionStatus => return Ok(None),
            pb::ExecutionStatus::Unexecuted => ExecutionFilter::Unexecuted,
            pb::ExecutionStatus::Executed => ExecutionFilter::Executed,
            pb::ExecutionStatus::Unexecutable => ExecutionFilter::Unexecutable,
        });
    }
    if let Some(number) = request.mode {
        let Some(mode) = convert::mode_from(number) else { return Ok(None) };
        filter.mode = Some(mode);
    }
    if request.execute_fail_cause.is_some() {
        let Some(cause) = convert::cause_from(request.execute_fail_cause()) else {
            return Ok(None);
        };
        filter.execution_failure_cause = Some(cause);
    }
    if request.settlement_status.is_some()
        && request.settlement_status() != pb::SettlementStatus::Unsettled
    {
        // Nothing is ever settled here.
        return Ok(None);
    }
    Ok(Some(filter))
}
