//! What SDK clients send: protobuf bodies, signatures, programs.

use hierophant::api::auth::{CREATE_ARTIFACT_MESSAGE, recover};
use hierophant::api::classify::classify;
use hierophant::artifacts::program::looks_like_program;
use hierophant_model::records::NetworkMode;
use hierophant_proto::{artifact, network};
use prost::Message;

/// The body of `RequestProof` in either schema. What has none of Mainnet's fields is Reserved.
pub(crate) fn request_body(bytes: &[u8]) -> bool {
    let Ok(found) = classify(bytes) else { return false };
    // Encoded again, it has neither tag 12 of Reserved nor an unknown field.
    let written = found.body.encode_to_vec();
    let again = classify(&written).expect("what we write is a body");
    assert_eq!(again.body.encode_to_vec(), written);
    if found.network_mode == NetworkMode::Reserved {
        assert_eq!(again.network_mode, NetworkMode::Reserved, "{:?}", found.body);
    }
    true
}

/// The other calls, with their signatures recovered over the bytes as they came.
pub(crate) fn signed_call(bytes: &[u8]) -> bool {
    let mut signed = false;
    if let Ok(call) = network::SignedRequest::decode(bytes) {
        signed = recover(&call.body, &call.signature).is_ok();
        let _ = network::CreateProgramBody::decode(call.body.as_slice());
        let _ = network::CancelRequestBody::decode(call.body.as_slice());
        request_body(&call.body);
    }
    if let Ok(call) = artifact::CreateArtifactRequest::decode(bytes) {
        signed |= recover(CREATE_ARTIFACT_MESSAGE, &call.signature).is_ok();
    }
    signed
}

/// The first look at an uploaded program, zstd-compressed or not.
pub(crate) fn program(bytes: &[u8]) -> bool {
    let Err(reason) = looks_like_program(bytes) else { return true };
    assert!(!reason.is_empty(), "refused without a reason");
    false
}
