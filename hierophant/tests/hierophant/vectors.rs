//! Requests recorded from an unmodified SDK client, replayed byte for byte.

use alloy_primitives::Address;
use hierophant::api::auth::recover;
use hierophant::api::classify::classify;
use hierophant_model::records::NetworkMode;
use hierophant_proto::artifact::{CreateArtifactRequest, CreateArtifactResponse};
use hierophant_proto::network as pb;
use prost::Message;
use serde::Deserialize;
use tonic::Code;

use crate::support::Network;

#[derive(Deserialize)]
struct Recording {
    signer: Address,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    method: String,
    #[serde(with = "hex")]
    request_hex: Vec<u8>,
}

fn recordings() -> [(NetworkMode, Recording); 2] {
    let read = |text| serde_json::from_str(text).expect("a recording");
    [
        (NetworkMode::Reserved, read(include_str!("../vectors/sdk-6.10.0-reserved.json"))),
        (NetworkMode::Mainnet, read(include_str!("../vectors/sdk-6.10.0-mainnet.json"))),
    ]
}

fn message_of(recording: &Recording, method: &str) -> Vec<u8> {
    let call = recording.calls.iter().find(|call| call.method.ends_with(method));
    call.expect("recorded").request_hex.clone()
}

#[test]
fn recorded_signatures_recover_to_their_signer() {
    for (_, recording) in recordings() {
        let mut signed = 0;
        for call in &recording.calls {
            let bytes = call.request_hex.as_slice();
            let (message, signature) = match call.method.rsplit('/').next() {
                Some("CreateArtifact") => {
                    let request = CreateArtifactRequest::decode(bytes).expect("decodes");
                    (b"create_artifact".to_vec(), request.signature)
                }
                Some("CreateProgram" | "RequestProof" | "CancelRequest") => {
                    let request = pb::SignedRequest::decode(bytes).expect("decodes");
                    (request.body, request.signature)
                }
                _ => continue,
            };
            assert_eq!(recover(&message, &signature), Ok(recording.signer), "{}", call.method);
            signed += 1;
        }
        assert!(signed >= 4);
    }
}

#[test]
fn recorded_request_bodies_are_classified_and_read() {
    for (mode, recording) in recordings() {
        let bytes = message_of(&recording, "RequestProof");
        let envelope = pb::SignedRequest::decode(bytes.as_slice()).expect("decodes");
        let found = classify(&envelope.body).expect("classifies");
        assert_eq!((found.network_mode, found.stdin_private), (mode, false));
        assert_eq!(found.body.version, "sp1-v6.1.0");
        assert_eq!(found.body.mode, pb::ProofMode::Compressed as i32);
        assert_eq!(found.body.gas_limit, 1_000_000_000);
        let (strategy, cycle_limit) = match mode {
            NetworkMode::Reserved => (1, 100_000_000),
            NetworkMode::Mainnet => (3, 1_000_000_000_000),
        };
        assert_eq!((found.body.strategy, found.body.cycle_limit), (strategy, cycle_limit));
    }
}

/// Each recorded call, sent to a network that has not seen what the recording one had given out (its
/// artifact URIs and request ids): the documented answer, and never a code that the client retries.
#[tokio::test]
async fn recorded_calls_get_the_documented_answers() {
    let network = Network::start().await;
    let http = reqwest::Client::builder().http2_prior_knowledge().build().expect("builds");
    for (mode, recording) in recordings() {
        for call in &recording.calls {
            let (code, message) = replay(&http, &network, call).await;
            let expected = match call.method.rsplit('/').next().expect("a name") {
                "GetProgram" | "CancelRequest" => Code::NotFound,
                "CreateProgram" => Code::InvalidArgument,
                // The recorded deadlines pass, and the program is not registered here.
                "RequestProof" if code == Code::InvalidArgument => Code::InvalidArgument,
                "RequestProof" => Code::FailedPrecondition,
                _ => Code::Ok,
            };
            assert_eq!(code, expected, "{mode} {}", call.method);
            check_answer(&call.method, &message);
        }
    }
}

fn check_answer(method: &str, message: &[u8]) {
    match method.rsplit('/').next() {
        Some("CreateArtifact") => {
            let answer = CreateArtifactResponse::decode(message).expect("decodes");
            assert!(answer.artifact_presigned_url.starts_with("http://127.0.0.1:"));
        }
        Some("GetNonce") => {
            assert_eq!(pb::GetNonceResponse::decode(message).expect("decodes").nonce, 0);
        }
        Some("GetProofRequestStatus") => {
            let answer = pb::GetProofRequestStatusResponse::decode(message).expect("decodes");
            assert_eq!(answer.fulfillment_status, pb::FulfillmentStatus::Unfulfillable as i32);
        }
        Some("GetProofRequestDetails") => {
            let answer = pb::GetProofRequestDetailsResponse::decode(message).expect("decodes");
            assert_eq!(answer.request, None);
        }
        _ => {}
    }
}

async fn replay(http: &reqwest::Client, network: &Network, call: &Call) -> (Code, Vec<u8>) {
    let length = u32::try_from(call.request_hex.len()).expect("short");
    let frame = [&[0], length.to_be_bytes().as_slice(), call.request_hex.as_slice()].concat();
    let answer = http
        .post(format!("http://{}{}", network.grpc, call.method))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(frame)
        .send()
        .await
        .expect("sends");
    // A refusal comes in the headers alone; success comes in trailers, after a message.
    let refused = answer.headers().get("grpc-status").cloned();
    let body = answer.bytes().await.expect("bytes");
    match refused {
        Some(code) => (Code::from_bytes(code.as_bytes()), Vec::new()),
        None => (Code::Ok, body[5..].to_vec()),
    }
}
