//! `hierophant watch`: what goes on, full screen, until somebody presses `q`.
//!
//! [`follow`] hears the event stream, [`model`] holds what is known, [`view`] draws it, and [`screen`] is the
//! terminal. Here they are put together.

mod follow;
mod model;
mod screen;
mod view;

use std::process::ExitCode;
use std::time::Duration;

use hierophant_model::records::Millis;
use network_lib::{signal, task};
use tokio::signal::unix::{SignalKind, signal as signals};
use tokio::sync::mpsc;

use super::MISUSED;
use super::caller::{CallError, Caller};
use hierophant_admin_model::Overview;
use model::Model;
use screen::Screen;

/// How often ages are drawn anew.
const TICK: Duration = Duration::from_secs(1);

/// Updates and keys that may wait to be drawn.
const WAITING: usize = 16;

/// Why there is nothing to watch.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// Output or input is a file or a pipe.
    #[error(
        "`watch` needs a terminal; for scripts there are `hierophant status --json` and the stream \
         /api/v1/events"
    )]
    NoTerminal,
    /// Hierophant does not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Whoever follows the stream has ended: a fault of the program, told by its panic.
    #[error("nothing is heard any more")]
    Deaf,
    /// The terminal does not do what it is told.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] std::io::Error),
}

impl WatchError {
    /// How the program ends then.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoTerminal => ExitCode::from(MISUSED),
            Self::Call(error) => error.exit_code(),
            Self::Deaf | Self::Terminal(_) => ExitCode::FAILURE,
        }
    }
}

/// Shows what goes on until it is told to stop.
pub(super) async fn watch(caller: &Caller) -> Result<(), WatchError> {
    if !screen::is_there() {
        return Err(WatchError::NoTerminal);
    }
    // Whoever mistypes an address is told so at once.
    caller.get::<Overview>("/overview", &[]).await?;
    let stop = signal::shutdown_token()?;
    let mut resized = signals(SignalKind::window_change())?;
    let mut screen = Screen::enter()?;
    let (update, mut updates) = mpsc::channel(WAITING);
    task::spawn("follow", follow::follow(caller.clone(), update));
    let mut keys = screen::keys(WAITING)?;
    let mut ticks = tokio::time::interval(TICK);
    let mut model = Model::new(Millis::now());
    loop {
        screen.draw(|frame| view::draw(frame, &model))?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            update = updates.recv() => match update {
                Some(update) => model.apply(Millis::now(), update),
                None => return Err(WatchError::Deaf),
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
