//! The smallest client of a Hierophant: ordinary `sp1-sdk`, nothing else.
//!
//! The SDK reads the network and the account from the environment:
//! `NETWORK_RPC_URL=http://127.0.0.1:9000 NETWORK_PRIVATE_KEY=0x… cargo run --release --bin request-proof`
//!
//! Any private key will do unless the network has a list of allowed accounts. To prove your own
//! program, put its ELF and its input in the two marked places.
//!
//! On Hierophant's own machine a bar shows how far the proof is; elsewhere the SDK just waits.

mod progress;

use sp1_sdk::network::NetworkMode;
use sp1_sdk::{Elf, ProveRequest, Prover, ProverClient, ProvingKey, SP1Stdin};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = ProverClient::builder().network_for(NetworkMode::Reserved).build().await;
    let keys = client.setup(Elf::Static(fibonacci::ELF)).await?; // the program

    let n = 1000_u32;
    let mut stdin = SP1Stdin::new();
    stdin.write(&n); // its input

    let request = client.prove(&keys, stdin).core().request().await?;
    println!("requested {request}");

    let proof = tokio::select! {
        proof = client.wait_proof(request, None, None) => proof?,
        never = progress::show(request.to_string()) => match never {},
    };
    client.verify(&proof, keys.verifying_key(), None)?;
    println!("verified; public values {}", proof.public_values.raw());
    Ok(())
}
