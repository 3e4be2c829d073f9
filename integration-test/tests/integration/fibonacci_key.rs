//! The committed verifying key of the example guest belongs to its committed ELF.

use sp1_sdk::{Elf, HashableKey, LightProver, Prover, ProvingKey};

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_verifying_key_is_the_one_that_the_sdk_derives() {
    let prover = LightProver::new().await;
    let keys = prover.setup(Elf::Static(fibonacci::ELF)).await.expect("sets up");
    let key = keys.verifying_key();
    let encoded = bincode::serialize(key).expect("encodes");
    assert_eq!(encoded, fibonacci::VERIFYING_KEY, "{}", hex::encode(&encoded));
    assert_eq!(key.hash_bytes(), fibonacci::VK_HASH);
}
