//! Follows the event stream, and connects anew when it breaks.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use super::model::{Update, Whole};
use crate::api::http::v1::model::{Changes, Job};
use crate::cli::caller::{CallError, Caller};

/// Silence after which the stream counts as broken: two missed signs of life.
const SILENCE: Duration = Duration::from_secs(35);

/// Rests between tries to connect: the first, and the longest.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Waiting and ended jobs that are fetched.
const ENTRIES: u32 = 100;

/// Nobody is watching any more.
struct Unwatched;

/// Why following has stopped.
enum End {
    Unwatched,
    Broken(String),
}

impl From<Unwatched> for End {
    fn from(_: Unwatched) -> Self {
        Self::Unwatched
    }
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Tells `updates` what happens until nobody takes them any more.
pub(super) async fn follow(caller: Caller, updates: Sender<Update>) {
    let mut rest = RESTS.0;
    loop {
        let mut connected = false;
        let End::Broken(reason) = follow_once(&caller, &updates, &mut connected).await else {
            return;
        };
        if tell(&updates, Update::Lost(reason)).await.is_err() {
            return;
        }
        rest = if connected { RESTS.0 } else { (rest * 2).min(RESTS.1) };
        tokio::time::sleep(rest).await;
    }
}

async fn tell(updates: &Sender<Update>, update: Update) -> Result<(), Unwatched> {
    updates.send(update).await.map_err(|_| Unwatched)
}

/// Follows one connection to its end.
async fn follow_once(caller: &Caller, updates: &Sender<Update>, connected: &mut bool) -> End {
    match listen(caller, updates, connected).await {
        Ok(()) => End::Broken("Hierophant has closed the stream".to_owned()),
        Err(end) => end,
    }
}

async fn listen(
    caller: &Caller,
    updates: &Sender<Update>,
    connected: &mut bool,
) -> Result<(), End> {
    let mut events = caller.listen(SILENCE).await?.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| End::Broken(format!("the stream broke: {error}")))?;
        match event.event.as_str() {
            "reset" => {
                let whole = everything(caller).await?;
                *connected = true;
                tell(updates, Update::Everything(Box::new(whole))).await?;
            }
            "changes" => {
                let broken = |error| End::Broken(format!("an event cannot be read: {error}"));
                let data: Value = serde_json::from_str(&event.data).map_err(broken)?;
                let paused = paused(&data["overview"]);
                let changes: Changes = serde_json::from_value(data).map_err(broken)?;
                let line = if changes.jobs.is_empty() { None } else { Some(line(caller).await?) };
                tell(updates, Update::Changes { changes: Box::new(changes), paused, line }).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Everything that is shown.
async fn everything(caller: &Caller) -> Result<Whole, CallError> {
    let overview: Value = caller.get("/overview", &[]).await?;
    let paused = paused(&overview);
    let overview = serde_json::from_value(overview)
        .map_err(|error| CallError::Refused(format!("the overview cannot be read: {error}")))?;
    let ended = "proved,failed,unexecutable,cancelled,expired";
    Ok(Whole {
        paused,
        overview,
        workers: caller.get("/workers", &[]).await?,
        line: line(caller).await?,
        ended: jobs(caller, ended).await?,
        failed: jobs(caller, "failed,unexecutable").await?,
    })
}

/// Why dispatch is paused, if it is. Not every version tells that.
fn paused(overview: &Value) -> Option<String> {
    overview.pointer("/paused/reason")?.as_str().map(str::to_owned)
}

async fn line(caller: &Caller) -> Result<Vec<Job>, CallError> {
    caller.get("/queue", &[("limit", ENTRIES.to_string())]).await
}

async fn jobs(caller: &Caller, states: &str) -> Result<Vec<Job>, CallError> {
    let query = [("state", states.to_owned()), ("limit", ENTRIES.to_string())];
    caller.get("/jobs", &query).await
}
