//! `network.ProverNetwork`: the methods that an SDK client calls, in both modes.
//!
//! Status codes follow the client's retry rules (contract, section 5.2) and are chosen in `rejected`;
//! `Internal`, `Aborted` and `ResourceExhausted` are never used.

use alloy_primitives::Address;
use hierophant_model::records::{Accepted, Millis, RequestState, RequestView};
use hierophant_proto::network as pb;
use hierophant_proto::network::prover_network_server::ProverNetwork;
use network_lib::ids::RequestId;
use network_lib::trace;
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::convert::{self, no_transaction};
use super::list::Lists;
use super::rejected::{blobs_unavailable, not_cancelled, not_submitted, store_unavailable};
use super::signed::{self, SignedBody};
use crate::admission::NewProgram;
use crate::api::ClientContext;
use crate::api::classify::classify;
use crate::api::urls::CalledAuthority;
use crate::traces;

/// Balance reported for every account: nothing is charged here, so no balance may stop a client. Decimal,
/// 10^27, a billion tokens of 18 decimals.
const BALANCE: &str = "1000000000000000000000000000";

/// Maximum price that a client is advised to offer, in wei of PROVE per prover gas unit. Nothing is charged;
/// it only has to parse and stay small (contract, section 5.5).
const MAX_PRICE_PER_PGU: &str = "1";

/// Metadata of the answer to `CreateProgram`: `stored`, or `kept` if the program has an upload already, which stays.
/// Either way the program is registered.
const REGISTERED: &str = "hierophant-program";

/// The `ProverNetwork` service.
#[derive(Debug)]
pub struct ProverNetworkService {
    context: ClientContext,
    lists: Lists,
}

impl ProverNetworkService {
    /// A service on this context.
    #[must_use]
    pub fn new(context: ClientContext) -> Self {
        Self { context, lists: Lists::default() }
    }

    fn open(&self, request: Request<pb::SignedRequest>) -> Result<SignedBody, Status> {
        let caller = Caller::of(&request);
        signed::open(&self.context, &caller, request.into_inner())
    }

    /// A request of which the caller may learn.
    async fn found(&self, caller: &Caller, id: RequestId) -> Result<Option<RequestView>, Status> {
        let view = self.context.store.request(id).await.map_err(store_unavailable)?;
        let view = view.filter(|view| caller.may_read(&self.context, &view.request));
        Ok(view.map(|view| view.as_reopened(Millis::now())))
    }

    /// A request in its current state. If the data of its finished proof is missing, the proof is made again
    /// before the state is reported; if the data cannot be looked up now, neither state is reported.
    async fn current(&self, caller: &Caller, id: RequestId) -> Result<Option<RequestView>, Status> {
        let view = self.found(caller, id).await?;
        let Some(proof) = view.as_ref().and_then(|view| view.job.proof) else { return Ok(view) };
        let fulfilled =
            view.as_ref().is_some_and(|view| view.request.state == RequestState::Fulfilled);
        if !fulfilled || self.context.blobs.is_there(proof).await.map_err(blobs_unavailable)? {
            return Ok(view);
        }
        let lost = self.context.proofs.proof_lost(id, proof).await;
        lost.map_err(|_| Status::unavailable("actor timeout; try again later"))?;
        self.found(caller, id).await
    }
}

#[tonic::async_trait]
impl ProverNetwork for ProverNetworkService {
    async fn get_program(
        &self,
        request: Request<pb::GetProgramRequest>,
    ) -> Result<Response<pb::GetProgramResponse>, Status> {
        let called = called(&request);
        let vk_hash = convert::vk_hash(&request.into_inner().vk_hash)?;
        let program = self.context.admission.program(vk_hash).await?.ok_or_else(|| {
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
        let SignedBody { signer, body } = self.open(request)?;
        let body = pb::CreateProgramBody::decode(body.as_slice()).map_err(convert::undecodable)?;
        let vk_hash = convert::vk_hash(&body.vk_hash)?;
        let program = convert::reference("program_uri", body.program_uri);
        let new = NewProgram { signer, vk_hash, vk: body.vk, program };
        let registered = self.context.admission.register(new).await?;
        let mut response = Response::new(pb::CreateProgramResponse {
            tx_hash: no_transaction(),
            body: Some(pb::Empty {}),
        });
        let outcome = MetadataValue::from_static(registered.as_str());
        response.metadata_mut().insert(REGISTERED, outcome);
        Ok(response)
    }

    async fn get_nonce(
        &self,
        request: Request<pb::GetNonceRequest>,
    ) -> Result<Response<pb::GetNonceResponse>, Status> {
        let address = convert::address("address", &request.into_inner().address)?;
        let nonce = self.context.store.nonce(address).await.map_err(store_unavailable)?;
        Ok(Response::new(pb::GetNonceResponse { nonce }))
    }

    async fn get_balance(
        &self,
        request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::GetBalanceResponse>, Status> {
        convert::address("address", &request.into_inner().address)?;
        Ok(Response::new(pb::GetBalanceResponse { amount: BALANCE.into() }))
    }

    async fn get_owner(
        &self,
        request: Request<pb::GetOwnerRequest>,
    ) -> Result<Response<pb::GetOwnerResponse>, Status> {
        // Keys are not delegated here: each owns itself.
        let owner = convert::address("address", &request.into_inner().address)?;
        Ok(Response::new(pb::GetOwnerResponse { owner: owner.to_vec() }))
    }

    async fn request_proof(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::RequestProofResponse>, Status> {
        let began = Millis::now();
        let caller = request.metadata().get(trace::TRACEPARENT);
        let caller = caller.and_then(|text| trace::parse(text.to_str().ok()?));
        let SignedBody { signer, body } = self.open(request)?;
        let admission = &self.context.admission;
        admission.check_storage()?;
        let found = classify(&body).map_err(convert::undecodable)?;
        let new = admission.admit(convert::proof_request(signer, found)?).await?;
        let submitted = self.context.proofs.submit(new).await.map_err(not_submitted)?;
        let Accepted { request, job } = submitted;
        if trace::is_on() {
            traces::requested(job, request, began, caller.as_ref());
        }
        Ok(Response::new(pb::RequestProofResponse {
            tx_hash: no_transaction(),
            body: Some(pb::RequestProofResponseBody { request_id: request.0.to_vec() }),
        }))
    }

    async fn get_proof_request_status(
        &self,
        request: Request<pb::GetProofRequestStatusRequest>,
    ) -> Result<Response<pb::GetProofRequestStatusResponse>, Status> {
        let (called, caller) = (called(&request), Caller::of(&request));
        let id = convert::request_id(&request.into_inner().request_id)?;
        let view = self.current(&caller, id).await?;
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
        let (called, caller) = (called(&request), Caller::of(&request));
        let id = convert::request_id(&request.into_inner().request_id)?;
        let view = self.found(&caller, id).await?;
        let request = view.map(|view| {
            let urls = &self.context.urls;
            let details = convert::details(&view, urls, called.as_ref(), Millis::now());
            if caller.owns(&self.context, &view.request) {
                details
            } else {
                convert::without_private_input(details)
            }
        });
        Ok(Response::new(pb::GetProofRequestDetailsResponse { request }))
    }

    async fn get_filtered_proof_requests(
        &self,
        request: Request<pb::GetFilteredProofRequestsRequest>,
    ) -> Result<Response<pb::GetFilteredProofRequestsResponse>, Status> {
        let (called, caller) = (called(&request), Caller::of(&request));
        let filter = request.into_inner();
        let requests = self.lists.list(&self.context, called.as_ref(), &caller, &filter).await?;
        Ok(Response::new(pb::GetFilteredProofRequestsResponse { requests }))
    }

    async fn get_proof_request_params(
        &self,
        _request: Request<pb::GetProofRequestParamsRequest>,
    ) -> Result<Response<pb::GetProofRequestParamsResponse>, Status> {
        let none = || Address::ZERO.to_vec();
        Ok(Response::new(pb::GetProofRequestParamsResponse {
            domain: Sha256::digest("hierophant prover network").to_vec(),
            auctioneer: none(),
            executor: none(),
            verifier: none(),
            max_price_per_pgu: MAX_PRICE_PER_PGU.into(),
            base_fee: "0".into(),
            treasury: none(),
            tick_size: 1,
            network_floor_price_per_pgu: "0".into(),
        }))
    }

    async fn get_provers_by_uptime(
        &self,
        _request: Request<pb::GetProversByUptimeRequest>,
    ) -> Result<Response<pb::GetProversByUptimeResponse>, Status> {
        // Empty means "any prover", and keeps the client from a second call after a failure.
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
        let SignedBody { signer, body } = self.open(request)?;
        let body = pb::CancelRequestBody::decode(body.as_slice()).map_err(convert::undecodable)?;
        let id = convert::request_id(&body.request_id)?;
        let client = self.context.clients.of_signer(&signer);
        self.context.proofs.cancel(id, client).await.map_err(not_cancelled)?;
        Ok(Response::new(pb::CancelRequestResponse {
            tx_hash: no_transaction(),
            body: Some(pb::Empty {}),
        }))
    }
}

fn called<T>(request: &Request<T>) -> Option<CalledAuthority> {
    request.extensions().get().cloned()
}
