//! The client: `sp1-sdk` as published, set up as its users set it up, with the Fibonacci guest.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sp1_sdk::network::proto::types::{ExecutionStatus, FulfillmentStatus, ProofRequest};
use sp1_sdk::network::signer::NetworkSigner;
use sp1_sdk::network::{B256, NetworkMode};
use sp1_sdk::{
    Elf, NetworkProver, ProveRequest, Prover, ProverClient, ProvingKey, SP1ProofMode,
    SP1ProvingKey, SP1Stdin,
};
use tokio::sync::OnceCell;

use crate::signer::{LoggingSigner, SigningLog};

/// Deriving a program's keys takes many seconds, and clients of one process can share them.
static GUEST_KEYS: OnceCell<SP1ProvingKey> = OnceCell::const_new();

/// A new private key.
#[must_use]
pub fn new_private_key() -> String {
    // Fewer than one in 2^127 such numbers is an invalid key.
    format!("0x{}", hex::encode(rand::random::<[u8; 32]>()))
}

/// The input that the guest reads.
#[must_use]
pub fn stdin_of(n: u32) -> SP1Stdin {
    let mut stdin = SP1Stdin::new();
    stdin.write(&n);
    stdin
}

/// A client of one network with the guest's keys at hand.
pub struct Client {
    /// The SDK's own client.
    pub sdk: NetworkProver,
    /// Keys of the Fibonacci guest.
    pub keys: SP1ProvingKey,
    signatures: SigningLog,
}

/// What running the guest here says about a proof made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// RISC-V instructions executed.
    pub cycles: u64,
    /// SP1 prover gas.
    pub gas: u64,
    /// What the guest commits, by its host-side twin.
    pub public_values: Vec<u8>,
    /// SHA-256 of that.
    pub public_values_hash: Vec<u8>,
}

impl Client {
    /// A client with a new private key.
    ///
    /// # Errors
    ///
    /// When the SDK refuses the key or the guest.
    pub async fn connect(rpc_url: &str, mode: NetworkMode) -> Result<Self> {
        let NetworkSigner::Local(key) = NetworkSigner::local(&new_private_key())? else {
            anyhow::bail!("the SDK made no local key");
        };
        let signatures = SigningLog::default();
        let sdk = ProverClient::builder()
            .network_for(mode)
            .rpc_url(rpc_url)
            .dynamic_signer(Arc::new(LoggingSigner::new(key, signatures.clone())))
            .build()
            .await;
        let keys = GUEST_KEYS.get_or_try_init(async || derive_keys(sdk.clone()).await);
        let keys = keys.await?.clone();
        Ok(Self { sdk, keys, signatures })
    }

    /// Registers the guest, as every request does first of all.
    ///
    /// # Errors
    ///
    /// What the SDK reports.
    pub async fn register(&self) -> Result<B256> {
        self.sdk.register_program(self.keys.verifying_key(), self.keys.elf()).await
    }

    /// Requests a proof with the SDK's defaults, so with a local simulation that finds the limits.
    ///
    /// # Errors
    ///
    /// What the SDK reports.
    pub async fn request(&self, n: u32, mode: SP1ProofMode, deadline: Duration) -> Result<B256> {
        self.sdk.prove(&self.keys, stdin_of(n)).mode(mode).timeout(deadline).request().await
    }

    /// Requests a proof as rollup clients do: no simulation, limits far above the need.
    ///
    /// # Errors
    ///
    /// What the SDK reports.
    pub async fn request_unsimulated(&self, n: u32, mode: SP1ProofMode) -> Result<B256> {
        let limit = 1_000_000_000_000;
        let builder = self.sdk.prove(&self.keys, stdin_of(n)).skip_simulation(true);
        builder.cycle_limit(limit).gas_limit(limit).mode(mode).request().await
    }

    /// When the last upload was complete.
    #[must_use]
    pub fn last_upload_complete(&self) -> Option<std::time::Instant> {
        self.signatures.last_body_signed()
    }

    /// Runs the guest here.
    ///
    /// # Errors
    ///
    /// When it fails or disagrees with its host-side twin.
    pub async fn execute(&self, n: u32) -> Result<Expected> {
        let run = self.sdk.execute(self.keys.elf().clone(), stdin_of(n)).calculate_gas(true);
        let (values, report) = run.await.context("the guest fails on this machine")?;
        let public_values = fibonacci::public_values(n);
        ensure!(
            values.as_slice() == public_values,
            "the guest commits 0x{}, but its host-side twin computes 0x{}",
            hex::encode(values.as_slice()),
            hex::encode(&public_values)
        );
        let gas = report.gas().context("SP1 computed no gas")?;
        let cycles = report.total_instruction_count();
        Ok(Expected { cycles, gas, public_values, public_values_hash: values.hash() })
    }

    /// What the network says about a request.
    ///
    /// # Errors
    ///
    /// When it says nothing.
    pub async fn details(&self, request: B256) -> Result<ProofRequest> {
        let details = self.sdk.get_proof_request(request).await?;
        details.with_context(|| format!("the network has no details of request {request}"))
    }
}

/// In a task of its own, because it computes for seconds without a pause, and the caller may have a time
/// limit to keep.
async fn derive_keys(sdk: NetworkProver) -> Result<SP1ProvingKey> {
    let task = network_lib::task::spawn("guest keys", async move {
        sdk.setup(Elf::Static(fibonacci::ELF)).await
    });
    task.await.context("the SDK panicked over the guest")?
}

impl Expected {
    /// Compares what the network says about a finished request with the run here.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn check_details(&self, details: &ProofRequest) -> Result<()> {
        let fulfillment = details.fulfillment_status;
        let execution = details.execution_status;
        ensure!(
            fulfillment == FulfillmentStatus::Fulfilled as i32,
            "fulfillment status is {fulfillment}"
        );
        ensure!(execution == ExecutionStatus::Executed as i32, "execution status is {execution}");
        same("cycles", details.cycles, Some(self.cycles))?;
        same("gas", details.gas_used, Some(self.gas))?;
        let hash = details.public_values_hash.as_ref().map(hex::encode);
        same("public values hash", hash, Some(hex::encode(&self.public_values_hash)))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, theirs: T, ours: T) -> Result<()> {
    ensure!(
        theirs == ours,
        "the network reports {what} {theirs:?}, the run on this machine {ours:?}"
    );
    Ok(())
}
