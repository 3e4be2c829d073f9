//! Follows the event stream, and connects anew when it breaks.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use hierophant_model::text::error_chain;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;

use super::model::{Update, Whole};
use crate::cli::caller::{CallError, Caller};
use hierophant_admin_model::{Changes, Job};

/// Silence after which the stream counts as broken: two missed signs of life.
const SILENCE: Duration = Duration::from_secs(35);

/// Rest before the first try to connect again.
const FIRST_REST: Duration = Duration::from_secs(1);

/// Longest rest between two tries.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Waiting and ended jobs that are fetched.
const ENTRIES: u32 = 100;

/// Tells `updates` what happens until nobody takes them any more.
pub(super) async fn follow(caller: Caller, updates: Sender<Update>) {
    let mut rest = FIRST_REST;
    while !updates.is_closed() {
        let mut heard = false;
        let lost = match listen(&caller, &updates, &mut heard).await {
            Ok(()) => "Hierophant has closed the stream".to_owned(),
            Err(error) => error.to_string(),
        };
        // Whether anybody takes it is seen at the next turn.
        let _ = updates.send(Update::Lost(lost)).await;
        rest = if heard { FIRST_REST } else { (rest * 2).min(LONGEST_REST) };
        tokio::time::sleep(rest).await;
    }
}

/// Follows one connection to its end; notes whether anything was `heard`.
async fn listen(
    caller: &Caller,
    updates: &Sender<Update>,
    heard: &mut bool,
) -> Result<(), CallError> {
    let mut events = caller.listen(SILENCE).await?.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| CallError::Broken(error_chain(&error)))?;
        let update = match event.event.as_str() {
            "reset" => Update::Everything(Box::new(everything(caller).await?)),
            "changes" => {
                let changes: Box<Changes> = read(&event.data)?;
                let line = if changes.jobs.is_empty() { None } else { Some(line(caller).await?) };
                Update::Changes { changes, line }
            }
            _ => continue,
        };
        *heard = true;
        if updates.send(update).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(data: &str) -> Result<T, CallError> {
    serde_json::from_str(data)
        .map_err(|error| CallError::Broken(format!("an event cannot be read: {error}")))
}

/// Everything that is shown.
async fn everything(caller: &Caller) -> Result<Whole, CallError> {
    let ended = "proved,failed,unexecutable,cancelled,expired";
    Ok(Whole {
        overview: caller.get("/overview", &[]).await?,
        workers: caller.get("/workers", &[]).await?,
        line: line(caller).await?,
        ended: jobs(caller, ended).await?,
        failed: jobs(caller, "failed,unexecutable").await?,
    })
}

async fn line(caller: &Caller) -> Result<Vec<Job>, CallError> {
    caller.get("/queue", &[("limit", ENTRIES.to_string())]).await
}

async fn jobs(caller: &Caller, states: &str) -> Result<Vec<Job>, CallError> {
    let query = [("state", states.to_owned()), ("limit", ENTRIES.to_string())];
    caller.get("/jobs", &query).await
}
