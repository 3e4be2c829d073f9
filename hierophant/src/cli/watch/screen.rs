//! The terminal: taken over, and restored in every case.

use std::io::{self, IsTerminal, Stdout, Write, stdin, stdout};
use std::panic;
use std::sync::Arc;

use ratatui::backend::TermionBackend;
use ratatui::{Frame, Terminal};
use termion::cursor::{Hide, Show};
use termion::event::Key;
use termion::input::TermRead;
use termion::raw::{IntoRawMode, RawTerminal};
use termion::screen::{ToAlternateScreen, ToMainScreen};
use tokio::sync::mpsc;

/// Whether there is a terminal.
pub(super) fn is_there() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// Whether a key ends the program.
pub(super) const fn is_end(key: Key) -> bool {
    matches!(key, Key::Char('q') | Key::Esc | Key::Ctrl('c' | 'd'))
}

/// The terminal while it is taken over.
pub(super) struct Screen {
    terminal: Terminal<TermionBackend<Stdout>>,
    raw: Arc<RawTerminal<Stdout>>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn enter() -> io::Result<Self> {
        let raw = Arc::new(stdout().into_raw_mode()?);
        let (panicked, before) = (Arc::clone(&raw), panic::take_hook());
        panic::set_hook(Box::new(move |panic| {
            // First, so that the message of the panic is visible.
            leave(&panicked);
            before(panic);
        }));
        write!(stdout(), "{ToAlternateScreen}{Hide}")?;
        let terminal = Terminal::new(TermionBackend::new(stdout())).inspect_err(|_| leave(&raw))?;
        Ok(Self { terminal, raw })
    }

    /// Draws a frame.
    pub(super) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(render).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave(&self.raw);
    }
}

/// Restores the terminal. Errors are ignored, because the program is about to end.
fn leave(raw: &RawTerminal<Stdout>) {
    let mut out = stdout();
    let _ = write!(out, "{Show}{ToMainScreen}");
    let _ = out.flush();
    let _ = raw.suspend_raw_mode();
}

/// Pressed keys, read by a dedicated thread because reading blocks.
pub(super) fn keys(capacity: usize) -> io::Result<mpsc::Receiver<Key>> {
    let (pressed, keys) = mpsc::channel(capacity);
    std::thread::Builder::new().name("keys".into()).spawn(move || {
        for key in stdin().keys() {
            let Ok(key) = key else { return };
            if pressed.blocking_send(key).is_err() {
                return;
            }
        }
    })?;
    Ok(keys)
}
