//! A reader of Hierophant's status pages.
//!
//! It takes from them only what the stories here look at, and takes every field as optional: these
//! stories must not fail because a page gained or lost a detail that they do not need.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::options::Mode;

/// Digits of a request id that the pages show.
const SHOWN_DIGITS: usize = 16;

/// Reads the status pages of one Hierophant.
#[derive(Debug, Clone)]
pub struct StatusClient {
    http: reqwest::Client,
    base: String,
}

/// One entry of `GET /contemplants`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Contemplant {
    /// Name it was given or drew.
    pub name: String,
    /// What it proves with.
    pub backend: String,
    /// Kinds of proof it offers now.
    pub modes: Vec<String>,
    /// State in one word.
    pub state: String,
    /// How many jobs it takes at once.
    pub slots: u32,
    /// Why it cannot prove now, in its own words.
    pub obstacle: Option<String>,
    /// Proofs it made.
    pub proofs_completed: u64,
    /// Failures that count against it.
    pub strikes: u32,
    /// What it works on.
    pub current_proofs: Vec<CurrentProof>,
}

impl Contemplant {
    /// Whether it takes jobs of this kind now.
    #[must_use]
    pub fn offers(&self, mode: Mode) -> bool {
        self.modes.iter().any(|offered| offered.eq_ignore_ascii_case(mode.as_str()))
    }
}

/// A job in work.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CurrentProof {
    /// Beginnings of the ids of the requests it serves.
    pub requests: Vec<String>,
    /// Current step, once the worker has reported it.
    pub phase: Option<String>,
    /// Done part of that step, 0 to 1.
    pub fraction: Option<f64>,
    /// Cycles handled in that step.
    pub cycles_done: Option<u64>,
    /// Cycles of the whole execution.
    pub cycles_total: Option<u64>,
    /// Seconds until its expected end.
    pub eta_seconds: Option<f64>,
    /// Whether the two above are guesses from earlier proofs.
    pub estimated: bool,
}

/// One entry of `GET /proof-history`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// The job's id.
    pub job: String,
    /// Beginnings of the ids of the requests it serves.
    pub requests: Vec<String>,
    /// Kind of proof.
    pub mode: String,
    /// Name of the Contemplant that made it.
    pub contemplant: Option<String>,
    /// What that one proves with.
    pub backend: Option<String>,
    /// State in one word.
    pub state: String,
    /// Why it failed, if it did.
    pub failure: Option<serde_json::Value>,
    /// Cycles of the execution.
    pub cycles: Option<u64>,
    /// SP1 prover gas of the execution.
    pub gas: Option<u64>,
    /// Unix time of the start of the work.
    pub started_at: Option<f64>,
    /// Seconds the proof took.
    pub proof_seconds: Option<f64>,
}

/// A task of a proof that several Contemplants make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Kind of work.
    pub kind: String,
    /// Kind of the shard that it proves.
    pub shard: Option<String>,
    /// State in one word.
    pub state: String,
    /// Name of the Contemplant of the latest attempt.
    pub contemplant: Option<String>,
    /// Number of attempts.
    pub attempts: u32,
}

impl Task {
    /// Whether its result is stored.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == "done"
    }

    /// Whether it is a shard whose proof is stored.
    #[must_use]
    pub fn is_proved_shard(&self) -> bool {
        self.shard.is_some() && self.is_done()
    }
}

impl HistoryEntry {
    /// Whether the proof was made.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.state.eq_ignore_ascii_case("proved")
    }
}

impl StatusClient {
    /// A reader of the pages below `base`, such as `http://127.0.0.1:9010`.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Whether `GET /ready` answers 200.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK)
    }

    /// The connected Contemplants.
    ///
    /// # Errors
    ///
    /// When the page cannot be fetched or understood.
    pub async fn contemplants(&self) -> Result<Vec<Contemplant>> {
        self.get("contemplants").await
    }

    /// The latest finished jobs.
    ///
    /// # Errors
    ///
    /// When the page cannot be fetched or understood.
    pub async fn proof_history(&self) -> Result<Vec<HistoryEntry>> {
        self.get("proof-history").await
    }

    /// The tasks as which the proof of a job was made.
    ///
    /// # Errors
    ///
    /// When they cannot be fetched or understood.
    pub async fn tasks_of(&self, job: &str) -> Result<Vec<Task>> {
        #[derive(Deserialize)]
        struct Tasks {
            tasks: Vec<Task>,
        }
        let found: Tasks = self.get(&format!("api/v1/jobs/{job}/tasks")).await?;
        Ok(found.tasks)
    }

    /// Id of the job that serves a request.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched or understood.
    pub async fn job_of(&self, request_id: &[u8]) -> Result<String> {
        #[derive(Deserialize)]
        struct Job {
            id: String,
        }
        let job: Job = self.get(&format!("api/v1/requests/{}", hex::encode(request_id))).await?;
        Ok(job.id)
    }

    /// The finished job that has served a request, if it has finished.
    ///
    /// # Errors
    ///
    /// When the page cannot be fetched or understood.
    pub async fn history_of(&self, request_id: &[u8]) -> Result<Option<HistoryEntry>> {
        let history = self.proof_history().await?;
        Ok(history.into_iter().find(|entry| is_among(request_id, &entry.requests)))
    }

    /// The worker of a request and its progress, if there is one.
    ///
    /// # Errors
    ///
    /// When the page cannot be fetched or understood.
    pub async fn work_on(&self, request_id: &[u8]) -> Result<Option<(Contemplant, CurrentProof)>> {
        for contemplant in self.contemplants().await? {
            let mut current = contemplant.current_proofs.iter();
            if let Some(proof) = current.find(|proof| is_among(request_id, &proof.requests)) {
                let proof = proof.clone();
                return Ok(Some((contemplant, proof)));
            }
        }
        Ok(None)
    }

    async fn get<T: DeserializeOwned>(&self, page: &str) -> Result<T> {
        let url = format!("{}/{page}", self.base);
        let answer = self.http.get(&url).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let text = answer.with_context(|| format!("cannot fetch {url}"))?.text().await?;
        serde_json::from_str(&text).with_context(|| format!("cannot understand {url}: {text}"))
    }
}

/// Whether one of the shown beginnings is that of `request_id`.
fn is_among(request_id: &[u8], shown: &[String]) -> bool {
    let id = hex::encode(request_id);
    shown.iter().any(|shown| {
        let digits = shown.trim_start_matches("0x");
        digits.len() >= SHOWN_DIGITS && id.starts_with(&digits.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_recognised_by_their_first_digits() {
        let id = [0xab; 32];
        let shown = |text: &str| vec!["00".repeat(8), text.to_owned()];
        assert!(is_among(&id, &shown(&"ab".repeat(8))));
        assert!(is_among(&id, &shown(&format!("0x{}", "AB".repeat(32)))));
        assert!(!is_among(&id, &shown(&"ac".repeat(8))));
        assert!(!is_among(&id, &shown("ab")), "two digits could be anybody's");
    }

    #[test]
    fn pages_are_read_whatever_else_they_hold() {
        let page = r#"[{"name": "amos", "modes": ["core"], "strikes": 0,
            "current_proofs": [{"phase": null, "fraction": null, "eta_seconds": 7}]}]"#;
        let read: Vec<Contemplant> = serde_json::from_str(page).expect("reads");
        assert!(read[0].offers(Mode::Core) && !read[0].offers(Mode::Plonk));
        assert_eq!(read[0].current_proofs[0].eta_seconds, Some(7.0));
    }
}
