//! `hierophant watch`: live state on the full screen, until `q` is pressed.
//!
//! [`follow`] reads the event stream, [`model`] holds the known state, [`view`] draws it, and [`screen`] is the
//! terminal. This module connects them.

mod follow;
mod model;
mod screen;
mod view;

use std::process::ExitCode;
use std::time::Duration;

use hierophant_admin_model::Overview;
use hierophant_model::records::Millis;
use network_lib::{signal, task};
use tokio::signal::unix::{SignalKind, signal as signals};
use tokio::sync::mpsc;

use super::MISUSED;
use super::client::{ApiClient, CallError};
use model::Model;
use screen::Screen;

/// Interval at which ages are redrawn.
const TICK: Duration = Duration::from_secs(1);

/// Capacity of the queues of updates and keys.
const QUEUE: usize = 16;

/// Why `watch` ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// Output or input is a file or a pipe.
    #[error(
        "no terminal: `watch` needs one; scripts can use `hierophant status --json` and the event \
         stream /api/v1/events"
    )]
    NoTerminal,
    /// The first call to Hierophant failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The task that follows the event stream has panicked.
    #[error("event stream ended by a fault of this program")]
    FollowerStopped,
    /// The terminal cannot be controlled.
    #[error("terminal error: {0}")]
    Terminal(#[from] std::io::Error),
}

impl WatchError {
    /// Exit code of the program.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoTerminal => ExitCode::from(MISUSED),
            Self::Call(error) => error.exit_code(),
            Self::FollowerStopped | Self::Terminal(_) => ExitCode::FAILURE,
        }
    }
}

/// Shows live state until `q` is pressed or the program is stopped.
pub(super) async fn watch(client: &ApiClient) -> Result<(), WatchError> {
    if !screen::is_there() {
        return Err(WatchError::NoTerminal);
    }
    // A wrong address is reported at once, before the screen is taken over.
    client.get::<Overview>("/overview", &[]).await?;
    let stop = signal::shutdown_token()?;
    let mut resized = signals(SignalKind::window_change())?;
    let mut screen = Screen::enter()?;
    let (update, mut updates) = mpsc::channel(QUEUE);
    task::spawn("follow", follow::follow(client.clone(), update));
    let mut keys = screen::keys(QUEUE)?;
    let mut ticks = tokio::time::interval(TICK);
    let mut model = Model::new(Millis::now());
    loop {
        screen.draw(|frame| view::draw(frame, &model))?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            update = updates.recv() => match update {
                Some(update) => model.apply(Millis::now(), update),
                None => return Err(WatchError::FollowerStopped),
            },
            key = keys.recv() => match key {
                Some(key) if !screen::is_end(key) => model.press(key),
                _ => return Ok(()),
            },
            _ = resized.recv() => {}
            _ = ticks.tick() => model.now = Millis::now(),
        }
    }
}
