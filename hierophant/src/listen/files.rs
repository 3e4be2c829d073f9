//! The system's limit of open files.

use rlimit::Resource;

/// Share of open files for connections; the rest is for uploads, downloads and the database.
const SHARE: (u64, u64) = (3, 4);

/// Minimum number of open files not used for connections.
const RESERVE: u64 = 64;

/// Raises the limit of open files as far as permitted, and returns how many connections it allows, at most
/// `wanted`.
#[must_use]
pub(super) fn make_room(wanted: usize) -> usize {
    let limit = Resource::NOFILE.get().and_then(|(soft, hard)| {
        if soft < hard {
            Resource::NOFILE.set(hard, hard)?;
        }
        Ok(hard)
    });
    let limit = match limit {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            return wanted;
        }
    };
    let room = (limit / SHARE.1 * SHARE.0).min(limit.saturating_sub(RESERVE));
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    if room < wanted {
        tracing::warn!(
            max_connections = wanted,
            open_files = limit,
            connections = room,
            "the system's limit of open files is too low for `limits.max_connections`, which is lowered; raise \
             the limit (systemd: LimitNOFILE, Docker: --ulimit nofile)"
        );
    }
    room.min(wanted)
}
