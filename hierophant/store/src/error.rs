//! Errors of the store.

use std::error::Error;
use std::time::Duration;

use backon::ExponentialBuilder;
use sqlx::migrate::MigrateError;

/// Time limit of a list's statement, after which it is interrupted.
pub const LIST_LIMIT: Duration = Duration::from_secs(3);

/// An error of a database driver.
pub type DriverError = Box<dyn Error + Send + Sync>;

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is busy; the same call may succeed later.
    #[error("store unavailable while {action}")]
    Unavailable {
        /// Action that failed.
        action: &'static str,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
    /// Too many lists are being read; the same call may succeed later.
    #[error("too many lists are being read at once; try again later")]
    Busy,
    /// A list took too long and was interrupted.
    #[error(
        "the list took more than {} s and was interrupted: expected a narrower filter or a smaller page",
        LIST_LIMIT.as_secs()
    )]
    TooSlow,
    /// The database refuses a write, and would refuse it again: a constraint, a missing table, a missing permission.
    #[error(
        "the database refused a write to {table}: expected the tables that Hierophant created, with \
         all permissions on them"
    )]
    Refused {
        /// The table, or the tables that the statement writes.
        table: String,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
    /// The database lacks transactions that it had confirmed.
    #[error(
        "the database {location} has lost confirmed transactions (it has number {found}, and {confirmed} was \
         confirmed): a backup was restored, or a standby took over that had not received them; start \
         Hierophant again to continue with what the database holds, and use a synchronous standby (see \
         docs/storage.md)"
    )]
    Behind {
        /// Server.
        location: String,
        /// Number of the database's last transaction.
        found: i64,
        /// Number of the last transaction that was confirmed.
        confirmed: i64,
    },
    /// The database server cannot be reached or refuses the credentials.
    #[error("cannot open the database {location}; check `database_url` and the server")]
    Unreachable {
        /// Server and database, without user and password.
        location: String,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
    /// A stored record that this version cannot read.
    #[error("unreadable stored record: {reason}")]
    Corrupt {
        /// What is wrong with the record.
        reason: String,
    },
    /// Another Hierophant holds the right to write.
    #[error(
        "another Hierophant uses the database {location}; stop it or choose another `database_url`"
    )]
    InUse {
        /// File or server.
        location: String,
    },
    /// The database cannot be used; it was left unchanged.
    #[error("the database {location} {reason}")]
    Unusable {
        /// File or server.
        location: String,
        /// What is wrong with the database, and the remedy.
        reason: String,
    },
    /// The schema could not be migrated to this version.
    #[error("cannot migrate the database {location} to this version's schema")]
    Schema {
        /// File or server.
        location: String,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
}

/// Retry policy for [transient](StoreError::is_transient) errors: seven tries within about a minute.
#[must_use]
pub fn retry_policy() -> ExponentialBuilder {
    ExponentialBuilder::default().with_max_times(6)
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Busy)
    }

    /// Whether the caller's own list was refused or interrupted, while the store works.
    #[must_use]
    pub const fn is_refused_list(&self) -> bool {
        matches!(self, Self::Busy | Self::TooSlow)
    }

    /// Wraps a driver's error during an action.
    pub(crate) fn unavailable<E: Into<DriverError>>(
        action: &'static str,
    ) -> impl Fn(E) -> Self + Copy {
        move |source| Self::Unavailable { action, source: source.into() }
    }

    /// Wraps an error of a migration.
    pub(crate) fn migration(location: &str, error: MigrateError) -> Self {
        let location = location.to_owned();
        let reason = match error {
            MigrateError::VersionMissing(version) => format!(
                "comes from a newer version (it has schema change {version}, which this version does not \
                 know); run that version, or restore a backup made before the upgrade"
            ),
            MigrateError::VersionMismatch(version) => format!(
                "was made by another program (its schema change {version} differs from Hierophant's); choose \
                 another one"
            ),
            error => return Self::Schema { location, source: error.into() },
        };
        Self::Unusable { location, reason }
    }
}
