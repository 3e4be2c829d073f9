//! Reads the event stream, and reconnects when it fails.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use hierophant_admin_model::{Changes, Job};
use hierophant_model::records::JobState;
use hierophant_model::text::error_chain;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;

use super::model::{Snapshot, Update};
use crate::cli::client::{ApiClient, CallError};

/// Silence after which the stream counts as failed: two missed keep-alive comments.
const SILENCE: Duration = Duration::from_secs(35);

/// Delay before the first reconnection attempt.
const MIN_BACKOFF: Duration = Duration::from_secs(1);

/// Maximum delay between two reconnection attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Number of queued and ended jobs to fetch.
const ENTRIES: u32 = 100;

/// States of jobs that have ended.
const ENDED: [JobState; 5] = [
    JobState::Proved,
    JobState::Failed,
    JobState::Unexecutable,
    JobState::Cancelled,
    JobState::Expired,
];

/// Sends updates until the receiver is dropped.
pub(super) async fn follow(client: ApiClient, updates: Sender<Update>) {
    let mut backoff = MIN_BACKOFF;
    while !updates.is_closed() {
        let mut connected = false;
        let reason = match read_events(&client, &updates, &mut connected).await {
            Ok(()) => "event stream closed by Hierophant".to_owned(),
            Err(error) => error.to_string(),
        };
        // If the receiver is dropped, the loop ends at its next turn.
        let _ = updates.send(Update::Lost(reason)).await;
        backoff = if connected { MIN_BACKOFF } else { (backoff * 2).min(MAX_BACKOFF) };
        tokio::time::sleep(backoff).await;
    }
}

/// Reads one connection to its end; sets `connected` once an event has arrived.
async fn read_events(
    client: &ApiClient,
    updates: &Sender<Update>,
    connected: &mut bool,
) -> Result<(), CallError> {
    let mut events = client.events(SILENCE).await?.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| CallError::Broken(error_chain(&error)))?;
        let update = match event.event.as_str() {
            "reset" => Update::Snapshot(Box::new(snapshot(client).await?)),
            "changes" => {
                let changes: Box<Changes> = parse(&event.data)?;
                let queue = if changes.jobs.is_empty() { None } else { Some(queue(client).await?) };
                Update::Changes { changes, queue }
            }
            _ => continue,
        };
        *connected = true;
        if updates.send(update).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(data: &str) -> Result<T, CallError> {
    serde_json::from_str(data).map_err(|error| CallError::Broken(format!("invalid event: {error}")))
}

/// Fetches all data that are shown.
async fn snapshot(client: &ApiClient) -> Result<Snapshot, CallError> {
    Ok(Snapshot {
        overview: client.get("/overview", &[]).await?,
        workers: client.get("/workers", &[]).await?,
        queue: queue(client).await?,
        ended: jobs(client, &ENDED).await?,
        failed: jobs(client, &[JobState::Failed, JobState::Unexecutable]).await?,
    })
}

async fn queue(client: &ApiClient) -> Result<Vec<Job>, CallError> {
    client.get("/queue", &[("limit", ENTRIES.to_string())]).await
}

async fn jobs(client: &ApiClient, states: &[JobState]) -> Result<Vec<Job>, CallError> {
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let query = [("state", states.join(",")), ("limit", ENTRIES.to_string())];
    client.get("/jobs", &query).await
}
