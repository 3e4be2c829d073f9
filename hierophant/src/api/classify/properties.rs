//! Property tests: random bodies of both schemas are classified correctly, with any optional fields.
//!
//! The schemas are copied from the SDK's two generated files, so that the bodies are encoded neither with this
//! crate's schema nor by hand.

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use hierophant_model::records::NetworkMode;
use prost::Message;

use super::classify;

/// The body of `RequestProof` in Reserved mode.
#[derive(Clone, PartialEq, Message)]
struct Base {
    #[prost(uint64, tag = "1")]
    nonce: u64,
    #[prost(bytes = "vec", tag = "2")]
    vk_hash: Vec<u8>,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(int32, tag = "4")]
    mode: i32,
    #[prost(int32, tag = "5")]
    strategy: i32,
    #[prost(string, tag = "6")]
    stdin_uri: String,
    #[prost(uint64, tag = "7")]
    deadline: u64,
    #[prost(uint64, tag = "8")]
    cycle_limit: u64,
    #[prost(uint64, tag = "9")]
    gas_limit: u64,
    #[prost(uint64, tag = "10")]
    min_auction_period: u64,
    #[prost(bytes = "vec", repeated, tag = "11")]
    whitelist: Vec<Vec<u8>>,
    #[prost(bool, tag = "12")]
    stdin_private: bool,
}

/// Fields of the body in Mainnet mode that Reserved mode lacks.
#[derive(Clone, PartialEq, Message)]
struct Auction {
    #[prost(bytes = "vec", tag = "12")]
    domain: Vec<u8>,
    #[prost(bytes = "vec", tag = "13")]
    auctioneer: Vec<u8>,
    #[prost(bytes = "vec", tag = "14")]
    executor: Vec<u8>,
    #[prost(bytes = "vec", tag = "15")]
    verifier: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "16")]
    public_values_hash: Option<Vec<u8>>,
    #[prost(string, tag = "17")]
    base_fee: String,
    #[prost(string, tag = "18")]
    max_price_per_pgu: String,
    #[prost(int32, tag = "19")]
    variant: i32,
    #[prost(bytes = "vec", tag = "20")]
    treasury: Vec<u8>,
    #[prost(bool, tag = "21")]
    stdin_private: bool,
}

impl Auction {
    /// Whether it has one of the fields by which the contract distinguishes Mainnet from Reserved.
    fn is_marked(&self) -> bool {
        let bytes =
            [&self.domain, &self.auctioneer, &self.executor, &self.verifier, &self.treasury];
        bytes.iter().any(|field| !field.is_empty())
            || !self.base_fee.is_empty()
            || !self.max_price_per_pgu.is_empty()
    }
}

fn base(input: &mut Unstructured<'_>) -> Result<Base> {
    Ok(Base {
        nonce: input.arbitrary()?,
        vk_hash: input.arbitrary()?,
        version: input.arbitrary()?,
        mode: input.arbitrary()?,
        strategy: input.arbitrary()?,
        stdin_uri: input.arbitrary()?,
        deadline: input.arbitrary()?,
        cycle_limit: input.arbitrary()?,
        gas_limit: input.arbitrary()?,
        min_auction_period: input.arbitrary()?,
        whitelist: input.arbitrary()?,
        stdin_private: input.arbitrary()?,
    })
}

fn auction(input: &mut Unstructured<'_>) -> Result<Auction> {
    Ok(Auction {
        domain: input.arbitrary()?,
        auctioneer: input.arbitrary()?,
        executor: input.arbitrary()?,
        verifier: input.arbitrary()?,
        public_values_hash: input.arbitrary()?,
        base_fee: input.arbitrary()?,
        max_price_per_pgu: input.arbitrary()?,
        variant: input.arbitrary()?,
        treasury: input.arbitrary()?,
        stdin_private: input.arbitrary()?,
    })
}

/// Asserts that the shared fields were read as written.
fn assert_read(found: &super::RequestProofBody, sent: &Base) {
    assert_eq!(found.nonce, sent.nonce);
    assert_eq!(found.vk_hash, sent.vk_hash);
    assert_eq!(found.version, sent.version);
    assert_eq!((found.mode, found.strategy), (sent.mode, sent.strategy));
    assert_eq!(found.stdin_uri, sent.stdin_uri);
    assert_eq!(found.deadline, sent.deadline);
    assert_eq!((found.cycle_limit, found.gas_limit), (sent.cycle_limit, sent.gas_limit));
    assert_eq!(found.min_auction_period, sent.min_auction_period);
    assert_eq!(found.whitelist, sent.whitelist);
}

#[test]
fn any_body_of_the_base_schema_is_reserved_with_its_own_privacy_flag() {
    arbtest(|input| {
        let sent = base(input)?;
        let found = classify(&sent.encode_to_vec()).expect("a body");
        assert_eq!(found.network_mode, NetworkMode::Reserved);
        assert_eq!(found.stdin_private, sent.stdin_private);
        assert_read(&found.body, &sent);
        Ok(())
    });
}

#[test]
fn any_body_of_the_auction_schema_is_mainnet_with_its_own_privacy_flag() {
    arbtest(|input| {
        let shared = Base { stdin_private: false, ..base(input)? };
        let own = auction(input)?;
        // Fields may come in any order.
        let bytes = if input.arbitrary()? {
            [shared.encode_to_vec(), own.encode_to_vec()].concat()
        } else {
            [own.encode_to_vec(), shared.encode_to_vec()].concat()
        };
        let found = classify(&bytes).expect("a body");
        if own.is_marked() {
            assert_eq!(found.network_mode, NetworkMode::Mainnet, "{own:?}");
            assert_eq!(found.stdin_private, own.stdin_private);
        } else {
            // No SDK sends such a body: its two prices are never empty.
            assert_eq!(found.network_mode, NetworkMode::Reserved, "{own:?}");
        }
        assert_read(&found.body, &shared);
        assert_eq!(found.body.auctioneer, own.auctioneer);
        assert_eq!(found.body.public_values_hash, own.public_values_hash);
        Ok(())
    });
}

#[test]
fn fields_that_the_sdk_always_sends_make_a_body_mainnet() {
    arbtest(|input| {
        let shared = Base { stdin_private: false, ..base(input)? };
        let own = Auction {
            auctioneer: vec![0; 20],
            executor: vec![0; 20],
            verifier: vec![0; 20],
            base_fee: "0".into(),
            max_price_per_pgu: "1".into(),
            ..auction(input)?
        };
        let found = classify(&[shared.encode_to_vec(), own.encode_to_vec()].concat());
        let found = found.expect("a body");
        assert_eq!(found.network_mode, NetworkMode::Mainnet);
        assert_eq!(found.stdin_private, own.stdin_private);
        Ok(())
    });
}

/// Fields that later SDKs may add.
#[derive(Clone, PartialEq, Message)]
struct Later {
    #[prost(bytes = "vec", tag = "100")]
    some: Vec<u8>,
    #[prost(uint64, tag = "2000")]
    number: u64,
}

#[test]
fn unknown_fields_change_nothing() {
    arbtest(|input| {
        let sent = base(input)?;
        let later = Later { some: input.arbitrary()?, number: input.arbitrary()? };
        let found = classify(&[later.encode_to_vec(), sent.encode_to_vec()].concat());
        let found = found.expect("a body");
        assert_eq!(found.network_mode, NetworkMode::Reserved);
        assert_eq!(found.stdin_private, sent.stdin_private);
        assert_read(&found.body, &sent);
        Ok(())
    });
}
