//! A named fault.

use std::pin::Pin;
use std::time::Duration;

use test_harness::config::merge;
use toml::Table;

use crate::stage::Stage;

/// Longest time for a case with scripted workers only.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest time for a case with real Contemplants: each may have to derive the program's key first.
const LIMIT_WITH_CONTEMPLANTS: Duration = Duration::from_secs(240);

/// What a case does; it panics when something is not as it must be.
pub(crate) type Play = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A named fault.
pub(crate) struct Case {
    /// By which it is run.
    pub(crate) name: &'static str,
    /// Kind of fault.
    pub(crate) group: &'static str,
    /// What must hold, in one line.
    pub(crate) about: &'static str,
    /// Longest time it may take.
    pub(crate) limit: Duration,
    /// Keys of Hierophant's configuration.
    pub(crate) keys: Table,
    /// What it does.
    pub(crate) play: Play,
}

impl Case {
    /// A case with scripted workers only.
    pub(crate) fn new(
        group: &'static str,
        name: &'static str,
        about: &'static str,
        play: Play,
    ) -> Self {
        Self { name, group, about, limit: LIMIT, keys: Table::new(), play }
    }

    /// It starts real Contemplants.
    pub(crate) fn with_contemplants(mut self) -> Self {
        self.limit = LIMIT_WITH_CONTEMPLANTS;
        self
    }

    /// It may take longer.
    pub(crate) const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Its Hierophant has this configuration.
    pub(crate) fn keys(mut self, keys: Table) -> Self {
        merge(&mut self.keys, &keys);
        self
    }
}

/// A case from the sentence and the function.
macro_rules! case {
    ($group:literal, $name:literal, $about:literal, $play:path) => {
        $crate::case::Case::new($group, $name, $about, |stage| Box::pin($play(stage)))
    };
}

pub(crate) use case;

/// How long a case that needs a silence lets it last until it is noticed.
pub(crate) fn short_silence() -> Table {
    test_harness::config::key("worker_registry.silence_limit", "2s")
}
