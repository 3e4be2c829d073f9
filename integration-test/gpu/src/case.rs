//! A named case.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;

use crate::engine::Engine;

/// What a case does.
pub(crate) type Play = for<'a> fn(&'a Engine) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A named case. After each of them no container of a Contemplant may be left.
pub(crate) struct Case {
    /// By which it is run.
    pub(crate) name: &'static str,
    /// What must hold, in one line.
    pub(crate) about: &'static str,
    /// Longest time for it.
    pub(crate) limit: Duration,
    /// What it does.
    pub(crate) play: Play,
}

/// Longest time for a case without a real proof.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// A case from the sentence and the function.
macro_rules! case {
    ($name:literal, $about:literal, $play:path) => {
        $crate::case::case!($name, $about, $play, $crate::case::LIMIT)
    };
    ($name:literal, $about:literal, $play:path, $limit:expr) => {
        $crate::case::Case {
            name: $name,
            about: $about,
            limit: $limit,
            play: |engine| Box::pin($play(engine)),
        }
    };
}

pub(crate) use case;
