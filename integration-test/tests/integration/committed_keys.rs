//! The committed verifying keys of the example guests belong to their committed ELFs.

use sp1_sdk::{Elf, HashableKey, LightProver, Prover, ProvingKey};

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_verifying_keys_are_those_that_the_sdk_derives() {
    let prover = LightProver::new().await;
    for (name, elf, committed, hash) in [
        ("fibonacci", fibonacci::ELF, fibonacci::VERIFYING_KEY, fibonacci::VK_HASH),
        ("aggregation", aggregation::ELF, aggregation::VERIFYING_KEY, aggregation::VK_HASH),
    ] {
        let keys = prover.setup(Elf::Static(elf)).await.expect("sets up");
        let key = keys.verifying_key();
        let encoded = bincode::serialize(key).expect("encodes");
        assert_eq!(encoded, committed, "{name}: {}", hex::encode(&encoded));
        assert_eq!(key.hash_bytes(), hash, "{name}: {}", hex::encode(key.hash_bytes()));
    }
}
