//! A named case.

use std::pin::Pin;

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
    /// What it does.
    pub(crate) play: Play,
}

/// A case from the sentence and the function.
macro_rules! case {
    ($name:literal, $about:literal, $play:path) => {
        $crate::case::Case { name: $name, about: $about, play: |engine| Box::pin($play(engine)) }
    };
}

pub(crate) use case;
