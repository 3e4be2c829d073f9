//! A progress bar from Hierophant's operator API, which answers programs on its own machine.
//!
//! Optional: the SDK waits for the proof without it.

use std::convert::Infallible;
use std::future::pending;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::Value;

/// Where the API lies unless `HIEROPHANT_HTTP_URL` says otherwise.
const HERE: &str = "http://127.0.0.1:9010";

/// How often it is asked.
const PACE: Duration = Duration::from_secs(1);

/// Parts of the bar.
const PARTS: f64 = 1000.0;

/// Shows how far the proof of a request is, on a terminal, for as long as this is polled.
pub(crate) async fn show(request: String) -> Infallible {
    if stderr().is_terminal()
        && let Err(error) = follow(&request).await
    {
        eprintln!("no progress bar: {error}");
    }
    pending().await
}

/// Draws until it is dropped. Returns an error if the API does not answer at first, as from another machine.
async fn follow(request: &str) -> anyhow::Result<Infallible> {
    let api = std::env::var("HIEROPHANT_HTTP_URL").unwrap_or_else(|_| HERE.to_owned());
    let url = format!("{}/api/v1/requests/{request}", api.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let read = async || {
        let answer = client.get(&url).send().await.map_err(reqwest::Error::without_url)?;
        let answer = answer.error_for_status().map_err(reqwest::Error::without_url)?;
        anyhow::Ok(answer.json::<Value>().await?)
    };
    let mut known = Ok(read().await?);
    let style = ProgressStyle::with_template("{elapsed} {wide_bar} {percent:>3}% {msg}")?;
    let bar = ProgressBar::new(PARTS as u64).with_style(style);
    let bar = bar.with_finish(ProgressFinish::AndClear);
    loop {
        match &known {
            Ok(job) => {
                let (fraction, message) = told(job);
                bar.set_position((fraction * PARTS) as u64);
                bar.set_message(message);
            }
            Err(error) => bar.set_message(format!("no word from Hierophant: {error}")),
        }
        bar.tick();
        tokio::time::sleep(PACE).await;
        known = read().await;
    }
}

/// How far the current step is, 0 to 1, and what is to be said of it.
fn told(job: &Value) -> (f64, String) {
    let Some(running) = job["running"].get(0) else {
        return (0.0, job["state"].as_str().unwrap_or("unknown").to_owned());
    };
    let phase = running["phase"].as_str().unwrap_or("starting");
    let who = job["contemplant"].as_str().unwrap_or("a Contemplant");
    let left = running["eta_seconds"].as_u64();
    let left = left.map_or_else(String::new, |seconds| format!(", {seconds} s left"));
    let guess = if running["estimated"] == true { " (estimated)" } else { "" };
    (running["fraction"].as_f64().unwrap_or(0.0), format!("{phase} on {who}{left}{guess}"))
}
