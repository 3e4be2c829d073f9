//! Detection of the schema of a `RequestProof` body (contract, section 2.10).
//!
//! Reserved and Mainnet clients call the same method with bodies that conflict in tag 12: a flag in one,
//! bytes in the other. The body is therefore decoded without tag 12, and its tags are inspected separately.

use hierophant_model::records::NetworkMode;
use hierophant_proto::network::RequestProofBody;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A decoded `RequestProof` body, and what can only be derived from its raw bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// Fields of both schemas, and of Mainnet only.
    pub body: RequestProofBody,
    /// Network variant of the client.
    pub network_mode: NetworkMode,
    /// Whether the input is private.
    pub stdin_private: bool,
}

/// Decodes and classifies a body.
///
/// # Errors
///
/// When the bytes are not a `RequestProof` body of either schema.
pub fn classify(bytes: &[u8]) -> Result<Classified, prost::DecodeError> {
    let body = RequestProofBody::decode(bytes)?;
    let mut rest = bytes;
    let mut network_mode = NetworkMode::Reserved;
    let mut reserved_private = false;
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        match (tag, wire_type) {
            (12, WireType::Varint) => {
                reserved_private = decode_varint(&mut rest)? != 0;
                continue;
            }
            (12, WireType::LengthDelimited) | (13..=15 | 17 | 18 | 20, _) => {
                network_mode = NetworkMode::Mainnet;
            }
            _ => {}
        }
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
    }
    let stdin_private = match network_mode {
        NetworkMode::Reserved => reserved_private,
        NetworkMode::Mainnet => body.stdin_private,
    };
    Ok(Classified { body, network_mode, stdin_private })
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use arbtest::arbtest;
    use prost::encoding::{bool, bytes};

    use super::*;

    fn shared() -> RequestProofBody {
        RequestProofBody {
            nonce: 150,
            vk_hash: vec![0x11; 32],
            version: "sp1-v6.1.0".into(),
            mode: 2,
            strategy: 2,
            stdin_uri: "stdins/test".into(),
            deadline: 1_800_000_000,
            cycle_limit: 100_000,
            gas_limit: 200_000,
            ..RequestProofBody::default()
        }
    }

    fn mainnet() -> RequestProofBody {
        RequestProofBody {
            auctioneer: vec![0x55; 20],
            executor: vec![0x66; 20],
            verifier: vec![0x77; 20],
            base_fee: "0".into(),
            max_price_per_pgu: "1".into(),
            ..shared()
        }
    }

    #[test]
    fn a_plain_body_is_reserved_and_public() {
        let found = classify(&shared().encode_to_vec()).expect("decodes");
        assert_eq!((found.network_mode, found.stdin_private), (NetworkMode::Reserved, false));
        assert_eq!(found.body, shared());
    }

    #[test]
    fn tag_12_as_a_number_is_the_reserved_privacy_flag() {
        let mut encoded = shared().encode_to_vec();
        bool::encode(12, &true, &mut encoded);
        let found = classify(&encoded).expect("decodes");
        assert_eq!((found.network_mode, found.stdin_private), (NetworkMode::Reserved, true));
    }

    #[test]
    fn tag_12_as_bytes_is_the_mainnet_domain() {
        let mut encoded = shared().encode_to_vec();
        bytes::encode(12, &vec![0x44_u8; 32], &mut encoded);
        let found = classify(&encoded).expect("decodes");
        assert_eq!((found.network_mode, found.stdin_private), (NetworkMode::Mainnet, false));
    }

    #[test]
    fn mainnet_privacy_is_tag_21() {
        let private = RequestProofBody { stdin_private: true, ..mainnet() };
        let found = classify(&private.encode_to_vec()).expect("decodes");
        assert_eq!((found.network_mode, found.stdin_private), (NetworkMode::Mainnet, true));
        let found = classify(&mainnet().encode_to_vec()).expect("decodes");
        assert_eq!((found.network_mode, found.stdin_private), (NetworkMode::Mainnet, false));
    }

    #[test]
    fn truncation_is_an_error_at_every_length_that_cuts_a_field() {
        let encoded = mainnet().encode_to_vec();
        let errors = (1..encoded.len()).filter(|end| classify(&encoded[..*end]).is_err()).count();
        assert!(errors > encoded.len() / 2, "{errors} of {}", encoded.len());
    }

    /// Holds for all values, and whether a Reserved client sets the privacy flag to false or omits it.
    #[test]
    fn any_body_of_either_schema_is_classified_and_read_whole() {
        arbtest(|input| {
            let body = RequestProofBody {
                nonce: input.arbitrary()?,
                vk_hash: input.arbitrary()?,
                version: input.arbitrary()?,
                mode: input.arbitrary()?,
                strategy: input.arbitrary()?,
                stdin_uri: input.arbitrary()?,
                deadline: input.arbitrary()?,
                cycle_limit: input.arbitrary()?,
                gas_limit: input.arbitrary()?,
                ..RequestProofBody::default()
            };
            let private: bool = input.arbitrary()?;
            let mut reserved = body.encode_to_vec();
            if private || input.arbitrary()? {
                bool::encode(12, &private, &mut reserved);
            }
            let found = classify(&reserved).expect("a Reserved body");
            assert_eq!((found.network_mode, found.stdin_private), (NetworkMode::Reserved, private));
            assert_eq!(found.body, body);

            let body = RequestProofBody {
                auctioneer: input.arbitrary()?,
                executor: input.arbitrary()?,
                verifier: input.arbitrary()?,
                base_fee: input.arbitrary()?,
                max_price_per_pgu: input.arbitrary()?,
                stdin_private: private,
                ..body
            };
            let domain: Vec<u8> = input.arbitrary()?;
            let mut mainnet = Vec::new();
            // Fields may come in any order.
            bytes::encode(12, &domain, &mut mainnet);
            mainnet.extend(body.encode_to_vec());
            let found = classify(&mainnet).expect("a Mainnet body");
            assert_eq!((found.network_mode, found.stdin_private), (NetworkMode::Mainnet, private));
            assert_eq!(found.body, body);
            Ok(())
        });
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        arbtest(|input| {
            let bytes: Vec<u8> = input.arbitrary()?;
            let _ = classify(&bytes);
            Ok(())
        });
    }
}
