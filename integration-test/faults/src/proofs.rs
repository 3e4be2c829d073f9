//! Good proofs, really made by a Contemplant, and bad ones made out of them.
//!
//! One real Contemplant proves a few inputs once, before the first case. Scripted workers hand these
//! proofs in later, so that most cases need no executor of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hierophant_proto::network as pb;
use network_lib::ids::Sha256Digest;
use network_lib::job::{Execution, ProofMode};
use serde::{Deserialize, Serialize};
use test_harness::binaries::{Binaries, own_folder};
use test_harness::{Hierophant, STOP_LIMIT};
use test_peers::{Client, blob, stdin_of_u32};

use crate::contemplant::{self, Settings, copy_folder};
use crate::program;
use crate::settings;

/// The inputs that are proved: each in mode Core, the first also in every other.
pub(crate) const INPUTS: [u32; 2] = [20, 21];

/// Deriving the program's key takes a slow machine the best part of a minute.
const FIRST_PROOF_LIMIT: Duration = Duration::from_secs(400);

/// A proof and what its execution found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GoodProof {
    /// Bincode of SP1's `ProofFromNetwork`.
    #[serde(with = "hex::serde")]
    pub(crate) bytes: Vec<u8>,
    /// As the Contemplant reported it.
    pub(crate) execution: Execution,
}

/// Every good proof at hand.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Proofs {
    made: BTreeMap<String, GoodProof>,
}

impl Proofs {
    /// The proof of one of [`INPUTS`].
    pub(crate) fn of(&self, n: u32, mode: ProofMode) -> &GoodProof {
        let made = self.made.get(&format!("{n} {mode}"));
        made.unwrap_or_else(|| panic!("no {mode} proof of {n} was prepared"))
    }

    /// What a Contemplant found when it executed an input, if it is one of [`INPUTS`].
    pub(crate) fn execution(&self, n: u32) -> Option<Execution> {
        INPUTS.contains(&n).then(|| self.of(n, ProofMode::Core).execution)
    }

    /// The proof for an uploaded input.
    pub(crate) fn for_stdin(&self, stdin: Sha256Digest, mode: ProofMode) -> &GoodProof {
        let n = INPUTS.into_iter().find(|n| blob(&stdin_of_u32(*n)).sha256 == stdin);
        self.of(n.expect("scripted workers get prepared inputs only"), mode)
    }

    /// A proof that names another program: its first public input, the digest of the verifying key,
    /// is another one. In mock proofs only PLONK and Groth16 carry it.
    pub(crate) fn of_another_program(&self, n: u32, mode: ProofMode) -> Vec<u8> {
        let mut bytes = self.of(n, mode).bytes.clone();
        // Kind of proof (4 bytes), length of the first string (8 bytes), its first decimal digit.
        let digit = &mut bytes[12];
        *digit = if *digit == b'1' { b'2' } else { b'1' };
        bytes
    }

    /// Has them made, or reads them if an earlier run had the same Contemplant make them.
    pub(crate) async fn prepare(binaries: &Binaries) -> Result<(Self, PathBuf)> {
        let folder = own_folder()?.join("fault-suite-proofs");
        let template = folder.join("contemplant-data");
        let file = folder.join(format!("{}.json", fingerprint(&binaries.contemplant)?));
        if let Ok(text) = std::fs::read_to_string(&file)
            && let Ok(proofs) = serde_json::from_str(&text)
        {
            return Ok((proofs, template));
        }
        eprintln!("a Contemplant makes the proofs that scripted workers will hand in (once)");
        let work = tempfile::Builder::new().prefix("fault-suite-").tempdir()?;
        let made = make(binaries, work.path()).await.with_context(|| {
            format!("cannot make the proofs\n{}", test_harness::log_tails(work.path()))
        })?;
        if template.exists() {
            std::fs::remove_dir_all(&template)?;
        }
        copy_folder(&work.path().join("contemplant-maker"), &template)?;
        std::fs::write(&file, serde_json::to_string(&made)?)?;
        Ok((made, template))
    }
}

async fn make(binaries: &Binaries, folder: &Path) -> Result<Proofs> {
    let keys = settings::with(&toml::Table::new());
    let mut hierophant = Hierophant::start(&binaries.hierophant, folder, &keys, &[]).await?;
    let settings = Settings::new("maker", Duration::ZERO);
    let http = hierophant.http();
    let mut maker = contemplant::start(&binaries.contemplant, folder, None, http, &settings)?;
    let mut client = Client::connect(&hierophant).await;
    program::register(&mut client).await;
    let mut made = BTreeMap::new();
    for n in INPUTS {
        for mode in ProofMode::ALL {
            let ask = program::ask(&mut client, n, mode).await;
            let request = client.ask(&ask).await?;
            let uri = wait_for_proof(&mut client, &request).await?;
            let bytes = client.http.get(uri).send().await?.bytes().await?.to_vec();
            let details = client.details(&request).await.context("no details")?;
            let hash = details.public_values_hash.context("no public values hash")?;
            let execution = Execution {
                cycles: details.cycles.context("no cycles")?,
                gas: details.gas_used,
                public_values_hash: Sha256Digest::try_from(hash.as_slice())?,
            };
            made.insert(format!("{n} {mode}"), GoodProof { bytes, execution });
        }
    }
    maker.kill().await?;
    hierophant.process.terminate(STOP_LIMIT).await?;
    Ok(Proofs { made })
}

async fn wait_for_proof(client: &mut Client, request: &[u8]) -> Result<String> {
    let waiting = async {
        loop {
            let status = client.status(request).await;
            if status.fulfillment_status == pb::FulfillmentStatus::Fulfilled as i32 {
                return status.proof_uri.context("fulfilled without a proof");
            }
            let wanted = pb::FulfillmentStatus::Assigned as i32;
            ensure!(status.fulfillment_status == wanted, "the Contemplant did not make a proof");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(FIRST_PROOF_LIMIT, waiting).await.context("no proof in time")?
}

/// Tells builds of a program apart without reading hundreds of megabytes.
fn fingerprint(program: &Path) -> Result<String> {
    let metadata = program.metadata()?;
    let built = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{:x}-{:x}", metadata.len(), built.as_nanos()))
}
