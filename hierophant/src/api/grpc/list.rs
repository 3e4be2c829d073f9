//! `GetFilteredProofRequests`: who may list, what is listed, and what is shown of it.
//!
//! No SDK lists requests in order to prove, while a list costs more than any other call. Therefore it is bounded in
//! every way: callers, lists at once, requests that are examined, requests and bytes that are returned.

use hierophant_model::records::{ExecutionFilter, Millis, RequestFilter};
use hierophant_proto::network as pb;
use hierophant_store::StoreError;
use prost::Message as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

use super::caller::Caller;
use super::convert;
use super::rejected::store_unavailable;
use crate::admission::{self, MAX_VERSION_BYTES};
use crate::api::ClientContext;
use crate::api::urls::CalledAuthority;
use crate::config::ListAccess;

/// Maximum number of requests in a list.
const MAX_ENTRIES: u32 = 1000;

/// Maximum size of a list in bytes: below the client's limit of 4 MiB for a message.
const MAX_BYTES: usize = 3_500_000;

/// Default number of requests in a list.
const DEFAULT_ENTRIES: u32 = 10;

/// Maximum number of requests that earlier pages have skipped: they are read nevertheless.
const MAX_OFFSET: u64 = 10_000;

/// Number of latest requests, by requester and time, among which the other conditions of a filter are looked for.
const MAX_EXAMINED: u32 = 20_000;

/// Number of lists that are read at once for all clients: fewer than the store reads, so that operators' lists do not
/// wait for them.
const LISTS_AT_ONCE: usize = 1;

/// Maximum number of lists that wait.
const MAX_WAITING: usize = 16;

/// The lists of all clients.
#[derive(Debug)]
pub(super) struct Lists {
    places: Semaphore,
    turns: Semaphore,
}

impl Default for Lists {
    fn default() -> Self {
        let places = Semaphore::new(LISTS_AT_ONCE + MAX_WAITING);
        Self { places, turns: Semaphore::new(LISTS_AT_ONCE) }
    }
}

impl Lists {
    /// Waits for a turn.
    async fn turn(&self) -> Result<[SemaphorePermit<'_>; 2], Status> {
        let busy = || Status::unavailable("too many lists are being read at once; try again later");
        let place = self.places.try_acquire().map_err(|_| busy())?;
        let turn = self.turns.acquire().await.map_err(|_| busy())?;
        Ok([place, turn])
    }

    /// Lists requests.
    pub(super) async fn list(
        &self,
        context: &ClientContext,
        called: Option<&CalledAuthority>,
        caller: &Caller,
        request: &pb::GetFilteredProofRequestsRequest,
    ) -> Result<Vec<pb::ProofRequest>, Status> {
        check_access(context.calls.lists, caller.has_token())?;
        let Some(filter) = filter(request)? else { return Ok(Vec::new()) };
        let filter = RequestFilter { client: caller.listed(context), ..filter };
        let _turn = self.turn().await?;
        let views = context.store.requests(&filter).await.map_err(not_listed)?;
        let (urls, now) = (&context.urls, Millis::now());
        let mut entries = Vec::with_capacity(views.len());
        let mut bytes = 0;
        // An entry that leaves these out must not be found by them.
        let by_hidden = filter.requester.is_some()
            || filter.vk_hash.is_some()
            || filter.execution_failure_cause.is_some();
        let hides = by_hidden && !context.calls.list_ids;
        for view in views.iter().filter(|view| caller.may_read(context, &view.request)) {
            let is_own = caller.owns(context, &view.request);
            if hides && !is_own {
                continue;
            }
            let entry = convert::details(view, urls, called, now);
            let entry = match is_own {
                true => entry,
                false if context.calls.list_ids => convert::without_private_input(entry),
                false => convert::for_strangers(entry),
            };
            bytes += entry.encoded_len();
            if bytes > MAX_BYTES {
                let fit = entries.len();
                return Err(Status::out_of_range(format!(
                    "the list has more than {MAX_BYTES} bytes: expected a `limit` of at most {fit}"
                )));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Checks that this caller may list requests.
fn check_access(access: ListAccess, has_token: bool) -> Result<(), Status> {
    match (access, has_token) {
        (ListAccess::Open, _) | (ListAccess::Token, true) => Ok(()),
        (ListAccess::Token, false) => Err(Status::unauthenticated(
            "missing client token: this network lists requests only for callers with a token",
        )),
        (ListAccess::Off, _) => {
            Err(Status::permission_denied("this network does not list requests (`calls.lists`)"))
        }
    }
}

/// Status for a list that could not be read.
fn not_listed(error: StoreError) -> Status {
    match error {
        StoreError::Busy => Status::unavailable(error.to_string()),
        // A retry would take as long.
        StoreError::TooSlow => Status::failed_precondition(error.to_string()),
        error => store_unavailable(error),
    }
}

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
        examined: Some(MAX_EXAMINED),
        limit: request.limit.unwrap_or(DEFAULT_ENTRIES).min(MAX_ENTRIES),
        ..RequestFilter::default()
    };
    let page = u64::from(request.page.unwrap_or(1).max(1));
    filter.offset = (page - 1) * u64::from(filter.limit);
    if filter.offset > MAX_OFFSET {
        return Err(Status::invalid_argument(format!(
            "invalid page {page}: expected a page of the latest {MAX_OFFSET} requests, or a time in `to`"
        )));
    }
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
    if let Some(number) = request.error {
        if pb::ProofRequestError::try_from(number).is_err() {
            return Err(Status::invalid_argument(format!(
                "unknown error {number}: expected a value of `ProofRequestError`"
            )));
        }
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

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    type Filter = pb::GetFilteredProofRequestsRequest;

    #[test]
    fn a_page_is_at_most_ten_thousand_requests_away() {
        let far = Filter { page: Some(12), limit: Some(1000), ..Filter::default() };
        let refused = filter(&far).expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("invalid page 12: expected"), "{refused:?}");
        let last = Filter { page: Some(u32::MAX), ..Filter::default() };
        assert_eq!(filter(&last).expect_err("refused").code(), Code::InvalidArgument);
        let near = Filter { page: Some(11), ..far };
        let near = filter(&near).expect("accepted").expect("may match");
        assert_eq!((near.offset, near.examined), (10_000, Some(MAX_EXAMINED)));
    }

    #[test]
    fn an_unknown_error_is_an_invalid_argument_and_not_every_request() {
        let unknown = Filter { error: Some(99), ..Filter::default() };
        let refused = filter(&unknown).expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("unknown error 99"), "{refused:?}");
    }

    #[test]
    fn lists_need_a_token_unless_they_are_open() {
        assert!(check_access(ListAccess::Token, true).is_ok());
        assert!(check_access(ListAccess::Open, false).is_ok());
        let code = |access, has_token| check_access(access, has_token).expect_err("refused").code();
        assert_eq!(code(ListAccess::Token, false), Code::Unauthenticated);
        assert_eq!(code(ListAccess::Off, true), Code::PermissionDenied);
    }

    #[tokio::test]
    async fn a_list_beyond_those_that_may_wait_is_refused() {
        let lists = Lists::default();
        let _reading = lists.turn().await.expect("a turn");
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(lists.turn())).collect();
        for one in &mut waiting {
            assert!(futures_util::FutureExt::now_or_never(one.as_mut()).is_none(), "it waits");
        }
        assert_eq!(lists.turn().await.expect_err("refused").code(), Code::Unavailable);
        waiting.pop();
        assert!(futures_util::FutureExt::now_or_never(lists.turn()).is_none(), "it waits");
    }
}
