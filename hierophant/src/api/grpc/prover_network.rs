//! `network.ProverNetwork`: the methods that an SDK client calls, in both modes.
//!
//! Codes follow the client's retry rules (contract, section 5.2): what another try can mend is
//! `Unavailable`; what it cannot is `InvalidArgument`, `FailedPrecondition`, `PermissionDenied`,
//! `Unauthenticated` or `NotFound`. `Internal`, `Aborted` and `ResourceExhausted` are never used.

use alloy_primitives::Address;
use hierophant_proto::network as pb;
use hierophant_proto::network::prover_network_server::ProverNetwork;
use network_lib::ids::{ArtifactId, RequestId, VkHash};
use network_lib::job::JobSpec;
use network_lib::trace;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::convert::{self, no_transaction};
use super::signed::{self, Opened};
use crate::api::Context;
use crate::api::classify::{Classified, classify};
use crate::api::urls::{CalledAuthority, artifact_of};
use crate::artifacts::damage;
use crate::artifacts::program::looks_like_program;
use crate::clients::{OverQuota, has_room};
use crate::proofs::actor::chain;
use crate::proofs::{CancelError, NewRequest, SubmitError};
use crate::records::{
    ArtifactKind, ArtifactRecord, Change, Millis, ProgramRecord, RequestState, job_key,
};
use crate::store::{ExecutionFilter, RequestFilter, RequestView, StoreError};
use crate::tokens::Bearer;
use crate::traces;
use crate::verify;

/// What every account is said to have: nothing is charged here, so no balance may stop a client.
/// Decimal, 10^27, a billion tokens of 18 decimals.
const BALANCE: &str = "1000000000000000000000000000";

/// Highest price that a client is told to offer, in wei of PROVE per prover gas unit. Nothing is charged;
/// it only has to parse and stay small (contract, section 5.5).
const MAX_PRICE_PER_PGU: &str = "1";

/// Longest verifying key that is taken, in bytes. Real ones have some 130.
const MAX_VK_BYTES: usize = 64 * 1024;

/// Longest version that is taken, in bytes; real ones are like `sp1-v6.1.0`.
const MAX_VERSION_BYTES: usize = 64;

/// Longest artifact URI that is taken, in bytes.
const MAX_URI_BYTES: usize = 2048;

/// Most addresses in a whitelist; each is stored.
const MAX_WHITELIST: usize = 1000;

/// Most requests in one list, so that an answer stays below the client's 4 MiB.
const MAX_LIST: u32 = 1000;

/// How many requests are listed if the client does not say.
const DEFAULT_LIST: u32 = 10;

/// The service.
#[derive(Debug)]
pub struct ProverNetworkService {
    context: Context,
    /// Held by whoever registers a program.
    registering: Mutex<()>,
}

impl ProverNetworkService {
    /// A service on this context.
    #[must_use]
    pub const fn new(context: Context) -> Self {
        Self { context, registering: Mutex::const_new(()) }
    }

    fn open(&self, request: pb::SignedRequest) -> Result<Opened, Status> {
        signed::open(&self.context.authenticator, request)
    }

    /// The uploaded artifact that a URI names.
    async fn uploaded(&self, field: &str, uri: &str) -> Result<ArtifactRecord, Status> {
        let id = artifact_of(uri).ok_or_else(|| {
            Status::invalid_argument(format!("{field} {uri:?} names no artifact of this network"))
        })?;
        let record = self.context.store.artifact(id).await.map_err(unavailable)?;
        let record = record.ok_or_else(|| {
            Status::failed_precondition(format!("{field} {uri:?} was never given out here"))
        })?;
        if record.expired_at.is_some() {
            return Err(Status::failed_precondition(format!(
                "the upload {field} {uri:?} is no longer kept; upload it again"
            )));
        }
        if record.blob.is_none() {
            return Err(Status::failed_precondition(format!(
                "nothing was uploaded to {field} {uri:?}"
            )));
        }
        Ok(record)
    }

    /// A request as it stands. A finished proof whose bytes are gone is made again instead of being promised;
    /// while nobody can say whether they are, neither is said.
    async fn still_proved(&self, id: RequestId) -> Result<Option<RequestView>, Status> {
        let view = self.context.store.request(id).await.map_err(unavailable)?;
        let Some(proof) = view.as_ref().and_then(|view| view.job.proof) else { return Ok(view) };
        let fulfilled =
            view.as_ref().is_some_and(|view| view.request.state == RequestState::Fulfilled);
        if !fulfilled || self.context.blobs.is_there(proof).await.map_err(unreachable)? {
            return Ok(view);
        }
        let lost = self.context.owners.proofs.proof_lost(id, proof).await;
        lost.map_err(|_| Status::unavailable("the request could not be looked up; try again"))?;
        self.context.store.request(id).await.map_err(unavailable)
    }

    /// Before a request joins a finished proof: is that still what it was? Names it if it is gone. Here and
    /// not where requests are decided about, because all of it is read.
    async fn lost_proof(&self, new: &NewRequest) -> Result<Option<ArtifactId>, Status> {
        let key = job_key(&new.spec, &new.stdin_blob);
        let earlier = self.context.store.proved_job(key).await.map_err(unavailable)?;
        if let Some(proof) = earlier.and_then(|job| job.proof)
            && let Some(record) = self.context.store.artifact(proof).await.map_err(unavailable)?
        {
            let sound =
                damage::is_sound(&self.context.blobs, &record).await.map_err(unreachable)?;
            if !sound {
                tracing::error!("the bytes of a finished proof are gone");
                return Ok(Some(proof));
            }
        }
        Ok(None)
    }

    /// A registered program whose bytes are still there.
    async fn held_program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, Status> {
        let program = self.context.store.program(vk_hash).await.map_err(unavailable)?;
        let Some(program) = program else { return Ok(None) };
        let held = self.context.blobs.holds(program.artifact, program.blob.size).await;
        let held = held.map_err(unreachable)?;
        if !held {
            tracing::warn!(vk_hash = %vk_hash, "the bytes of a registered program are gone");
        }
        Ok(held.then_some(program))
    }

    /// Whether an address may register one more program.
    async fn may_register(&self, owner: Address) -> Result<(), Status> {
        let most = self.context.clients.quota(owner).programs;
        if most == 0 {
            return Ok(());
        }
        let registered =
            self.context.store.programs_registered(owner).await.map_err(unavailable)?;
        if has_room(registered, most) {
            return Ok(());
        }
        let over = OverQuota::Programs(most);
        self.context.metrics.over_quota(self.context.clients.name(owner), over);
        Err(signed::over_quota(over))
    }

    async fn new_request(&self, signer: Address, found: Classified) -> Result<NewRequest, Status> {
        let Classified { body, network_mode, stdin_private } = found;
        let invalid = |what: String| Status::invalid_argument(what);
        bounded("version", body.version.len(), MAX_VERSION_BYTES, "bytes")?;
        bounded("stdin_uri", body.stdin_uri.len(), MAX_URI_BYTES, "bytes")?;
        bounded("whitelist", body.whitelist.len(), MAX_WHITELIST, "addresses")?;
        let vk_hash = vk_hash(&body.vk_hash)?;
        let mode = convert::mode_from(body.mode)
            .ok_or_else(|| invalid(format!("unknown proof mode {}", body.mode)))?;
        let circuit_version = body.version.strip_prefix("sp1-").filter(|v| v.starts_with('v'));
        let circuit_version = circuit_version.ok_or_else(|| {
            invalid(format!("version {:?} is not like \"sp1-v6.1.0\"", body.version))
        })?;
        if body.deadline <= Millis::now().seconds() {
            return Err(invalid(format!("deadline {} has passed already", body.deadline)));
        }
        let furthest = self.context.calls.max_deadline;
        if body.deadline > Millis::now().seconds().saturating_add(furthest.as_secs()) {
            let (deadline, furthest) = (body.deadline, humantime::format_duration(furthest));
            return Err(invalid(format!("deadline {deadline} is more than {furthest} ahead")));
        }
        let whitelist = body.whitelist.iter().map(|bytes| address("whitelist", bytes));
        let whitelist = whitelist.collect::<Result<Vec<_>, _>>()?;
        let program = self.held_program(vk_hash).await?.ok_or_else(|| {
            Status::failed_precondition(format!("program {vk_hash} is not registered here"))
        })?;
        if !self.context.mock_mode {
            // Work whose result could not be checked would be done for nothing.
            verify::will_be_verifiable(&program, mode, circuit_version)
                .map_err(|error| Status::failed_precondition(chain(&error)))?;
        }
        let stdin = self.uploaded("stdin_uri", &body.stdin_uri).await?;
        let stdin_kinds = [ArtifactKind::Stdin, ArtifactKind::PrivateStdin];
        let Some(stdin_blob) = stdin.blob.filter(|_| stdin_kinds.contains(&stdin.kind)) else {
            return Err(invalid(format!("stdin_uri names a {}, not an input", stdin.kind)));
        };
        Ok(NewRequest {
            id: RequestId::random(),
            requester: signer,
            spec: JobSpec {
                vk_hash,
                circuit_version: circuit_version.to_owned(),
                mode,
                cycle_limit: body.cycle_limit,
                gas_limit: body.gas_limit,
            },
            program: program.artifact,
            program_blob: program.blob,
            stdin: stdin.id,
            stdin_blob,
            network_mode,
            strategy: body.strategy,
            version: body.version,
            stdin_uri: body.stdin_uri,
            stdin_private: stdin_private || stdin.kind == ArtifactKind::PrivateStdin,
            deadline: body.deadline,
            min_auction_period: body.min_auction_period,
            whitelist,
        })
    }

    fn filter(
        request: &pb::GetFilteredProofRequestsRequest,
    ) -> Result<Option<RequestFilter>, Status> {
        let version = request.version.as_deref().unwrap_or_default();
        bounded("version", version.len(), MAX_VERSION_BYTES, "bytes")?;
        let mut filter = RequestFilter {
            version: request.version.clone(),
            minimum_deadline: request.minimum_deadline,
            from: request.from.map(Millis::from_seconds),
            // The whole second counts.
            to: request.to.map(|to| Millis(Millis::from_seconds(to).0.saturating_add(999))),
            limit: request.limit.unwrap_or(DEFAULT_LIST).min(MAX_LIST),
            ..RequestFilter::default()
        };
        let page = u64::from(request.page.unwrap_or(1).max(1));
        filter.offset = (page - 1) * u64::from(filter.limit);
        filter.vk_hash = request.vk_hash.as_deref().map(vk_hash).transpose()?;
        filter.requester =
            request.requester.as_deref().map(|bytes| address("requester", bytes)).transpose()?;
        if let Some(bytes) = &request.not_bid_by {
            // Nobody bids here, so this holds for every request.
            address("not_bid_by", bytes)?;
        }
        if let Some(bytes) = &request.fulfiller {
            // Contemplants have no address, so no request was fulfilled by one.
            address("fulfiller", bytes)?;
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
}

#[tonic::async_trait]
impl ProverNetwork for ProverNetworkService {
    async fn get_program(
        &self,
        request: Request<pb::GetProgramRequest>,
    ) -> Result<Response<pb::GetProgramResponse>, Status> {
        let called = called(&request);
        let vk_hash = vk_hash(&request.into_inner().vk_hash)?;
        let program = self.held_program(vk_hash).await?.ok_or_else(|| {
            Status::not_found(format!("program {vk_hash} is not registered here"))
        })?;
        Ok(Response::new(pb::GetProgramResponse {
            program: Some(pb::Program {
                vk_hash: vk_hash.0.to_vec(),
                vk: program.vk,
                program_uri: self.context.urls.artifact(called.as_ref(), program.artifact),
                name: None,
                owner: program.owner.to_vec(),
                created_at: program.created_at.seconds(),
            }),
        }))
    }

    async fn create_program(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::CreateProgramResponse>, Status> {
        let Opened { signer, body } = self.open(request.into_inner())?;
        let body = pb::CreateProgramBody::decode(body.as_slice()).map_err(undecodable)?;
        let vk_hash = vk_hash(&body.vk_hash)?;
        if body.vk.is_empty() || body.vk.len() > MAX_VK_BYTES {
            let length = body.vk.len();
            return Err(Status::invalid_argument(format!("a verifying key of {length} bytes")));
        }
        bounded("program_uri", body.program_uri.len(), MAX_URI_BYTES, "bytes")?;
        let upload = self.uploaded("program_uri", &body.program_uri).await?;
        let Some(blob) = upload.blob.filter(|_| upload.kind == ArtifactKind::Program) else {
            let kind = upload.kind;
            return Err(Status::invalid_argument(format!("program_uri names a {kind}")));
        };
        let head = self.context.blobs.read_head(upload.id, 128 * 1024).await;
        let head = head.map_err(unreachable)?;
        let verdict = tokio::task::spawn_blocking(move || looks_like_program(&head)).await;
        verdict
            .unwrap_or_else(|_| Err("the upload cannot be decoded".into()))
            .map_err(|what| Status::invalid_argument(format!("program_uri: {what}")))?;
        // One at a time, so that two at once cannot both take the last place of a quota.
        let _alone = self.registering.lock().await;
        let known = self.held_program(vk_hash).await?;
        if known.is_none() {
            self.may_register(signer).await?;
        }
        let mut changes = vec![Change::CountNonce(signer)];
        // Whoever registered a program first may replace its bytes; others only repeat it.
        if known.is_none_or(|program| program.owner == signer) {
            changes.push(Change::Program(ProgramRecord {
                vk_hash,
                vk: body.vk,
                artifact: upload.id,
                blob,
                owner: signer,
                created_at: Millis::now(),
            }));
        }
        self.context.store.commit(&changes).await.map_err(unavailable)?;
        tracing::info!(%vk_hash, owner = %signer, bytes = blob.size, "program registered");
        Ok(Response::new(pb::CreateProgramResponse {
            tx_hash: no_transaction(),
            body: Some(pb::Empty {}),
        }))
    }

    async fn get_nonce(
        &self,
        request: Request<pb::GetNonceRequest>,
    ) -> Result<Response<pb::GetNonceResponse>, Status> {
        let address = address("address", &request.into_inner().address)?;
        let nonce = self.context.store.nonce(address).await.map_err(unavailable)?;
        Ok(Response::new(pb::GetNonceResponse { nonce }))
    }

    async fn get_balance(
        &self,
        request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::GetBalanceResponse>, Status> {
        address("address", &request.into_inner().address)?;
        Ok(Response::new(pb::GetBalanceResponse { amount: BALANCE.into() }))
    }

    async fn get_owner(
        &self,
        request: Request<pb::GetOwnerRequest>,
    ) -> Result<Response<pb::GetOwnerResponse>, Status> {
        // Keys are not delegated here: each owns itself.
        let owner = address("address", &request.into_inner().address)?;
        Ok(Response::new(pb::GetOwnerResponse { owner: owner.to_vec() }))
    }

    async fn request_proof(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::RequestProofResponse>, Status> {
        let began = Millis::now();
        let caller = request.metadata().get(trace::TRACEPARENT);
        let caller = caller.and_then(|text| trace::parse(text.to_str().ok()?));
        let Opened { signer, body } = self.open(request.into_inner())?;
        self.context.budget.admit(0).map_err(|low| Status::unavailable(low.to_string()))?;
        let found = classify(&body).map_err(undecodable)?;
        let new = self.new_request(signer, found).await?;
        let lost = self.lost_proof(&new).await?;
        let id =
            self.context.owners.proofs.submit(new, lost).await.map_err(|error| match error {
                SubmitError::OverQuota(over) => signed::over_quota(over),
                SubmitError::Busy { .. } | SubmitError::Unavailable => {
                    Status::unavailable(error.to_string())
                }
            })?;
        if trace::is_on()
            && let Ok(Some(view)) = self.context.store.request(id).await
        {
            traces::requested(view.job.id, id, began, caller.as_ref());
        }
        Ok(Response::new(pb::RequestProofResponse {
            tx_hash: no_transaction(),
            body: Some(pb::RequestProofResponseBody { request_id: id.0.to_vec() }),
        }))
    }

    async fn get_proof_request_status(
        &self,
        request: Request<pb::GetProofRequestStatusRequest>,
    ) -> Result<Response<pb::GetProofRequestStatusResponse>, Status> {
        let called = called(&request);
        let id = convert::request_id(&request.into_inner().request_id)?;
        let view = self.still_proved(id).await?;
        let now = Millis::now();
        Ok(Response::new(match view {
            Some(view) => convert::status(&view, &self.context.urls, called.as_ref(), now),
            None => convert::unknown_status(now),
        }))
    }

    async fn get_proof_request_details(
        &self,
        request: Request<pb::GetProofRequestDetailsRequest>,
    ) -> Result<Response<pb::GetProofRequestDetailsResponse>, Status> {
        let called = called(&request);
        let id = convert::request_id(&request.into_inner().request_id)?;
        let view = self.context.store.request(id).await.map_err(unavailable)?;
        let request = view.map(|view| {
            convert::details(&view, &self.context.urls, called.as_ref(), Millis::now())
        });
        Ok(Response::new(pb::GetProofRequestDetailsResponse { request }))
    }

    async fn get_filtered_proof_requests(
        &self,
        request: Request<pb::GetFilteredProofRequestsRequest>,
    ) -> Result<Response<pb::GetFilteredProofRequestsResponse>, Status> {
        let called = called(&request);
        let known = request.extensions().get::<Bearer>().is_some();
        let views = match Self::filter(&request.into_inner())? {
            Some(filter) => self.context.store.requests(&filter).await.map_err(unavailable)?,
            None => Vec::new(),
        };
        let (urls, now) = (&self.context.urls, Millis::now());
        let entries = views.iter().map(|view| convert::details(view, urls, called.as_ref(), now));
        let requests = if known || self.context.calls.list_ids {
            entries.collect()
        } else {
            entries.map(convert::without_ids).collect()
        };
        Ok(Response::new(pb::GetFilteredProofRequestsResponse { requests }))
    }

    async fn get_proof_request_params(
        &self,
        _request: Request<pb::GetProofRequestParamsRequest>,
    ) -> Result<Response<pb::GetProofRequestParamsResponse>, Status> {
        let nobody = || Address::ZERO.to_vec();
        Ok(Response::new(pb::GetProofRequestParamsResponse {
            domain: Sha256::digest("hierophant prover network").to_vec(),
            auctioneer: nobody(),
            executor: nobody(),
            verifier: nobody(),
            max_price_per_pgu: MAX_PRICE_PER_PGU.into(),
            base_fee: "0".into(),
            treasury: nobody(),
            tick_size: 1,
            network_floor_price_per_pgu: "0".into(),
        }))
    }

    async fn get_provers_by_uptime(
        &self,
        _request: Request<pb::GetProversByUptimeRequest>,
    ) -> Result<Response<pb::GetProversByUptimeResponse>, Status> {
        // Empty means "any prover", and keeps the client from asking a second time after a failure.
        Ok(Response::new(pb::GetProversByUptimeResponse { provers: Vec::new() }))
    }

    async fn get_market_price_per_pgu(
        &self,
        _request: Request<pb::GetMarketPricePerPguRequest>,
    ) -> Result<Response<pb::GetMarketPricePerPguResponse>, Status> {
        let as_of = Millis::now().0 / 1000;
        Ok(Response::new(pb::GetMarketPricePerPguResponse { price: "0".into(), as_of }))
    }

    async fn cancel_request(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::CancelRequestResponse>, Status> {
        let Opened { signer, body } = self.open(request.into_inner())?;
        let body = pb::CancelRequestBody::decode(body.as_slice()).map_err(undecodable)?;
        let id = convert::request_id(&body.request_id)?;
        self.context.owners.proofs.cancel(id, signer).await.map_err(|error| {
            let text = error.to_string();
            match error {
                CancelError::NotFound => Status::not_found(text),
                CancelError::NotYours => Status::permission_denied(text),
                CancelError::AlreadyEnded(_) => Status::failed_precondition(text),
                CancelError::Unavailable => Status::unavailable(text),
            }
        })?;
        Ok(Response::new(pb::CancelRequestResponse {
            tx_hash: no_transaction(),
            body: Some(pb::Empty {}),
        }))
    }
}

fn called<T>(request: &Request<T>) -> Option<CalledAuthority> {
    request.extensions().get().cloned()
}

fn vk_hash(bytes: &[u8]) -> Result<VkHash, Status> {
    VkHash::try_from(bytes).map_err(|error| Status::invalid_argument(format!("vk_hash: {error}")))
}

fn address(field: &str, bytes: &[u8]) -> Result<Address, Status> {
    Address::try_from(bytes).map_err(|_| {
        let length = bytes.len();
        Status::invalid_argument(format!("{field}: an address has 20 bytes, this one {length}"))
    })
}

/// Refuses a field that is longer than it may be.
fn bounded(field: &str, length: usize, most: usize, unit: &str) -> Result<(), Status> {
    if length <= most {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{field}: {length} {unit}; at most {most} are taken")))
}

fn undecodable(error: prost::DecodeError) -> Status {
    Status::invalid_argument(format!("the body is not a valid message of this call: {error}"))
}

/// While the bytes cannot be asked for, nothing is said of them.
fn unreachable(error: std::io::Error) -> Status {
    tracing::error!(%error, "an artifact cannot be looked at now");
    Status::unavailable("uploads and proofs cannot be looked at now; try again later")
}

fn unavailable(error: StoreError) -> Status {
    tracing::error!(error = %chain(&error), "the store did not answer");
    Status::unavailable("the store does not answer now; try again later")
}
