//! Records from rows, which may hold anything: files get damaged, and other programs write to databases.

use alloy_primitives::Address;
use network_lib::ids::{IdError, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec, OutOfMemory};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::StoreError;
use super::values::{backend_from, cause_from, class_from, corrupt, memory_from, mode_from};
use crate::records::{
    ArtifactRecord, AttemptRecord, JobRecord, Millis, NoticeId, NoticeRecord, ProgramRecord,
    Prover, RequestRecord, Setting, TokenRecord, UnknownWord,
};

/// A row of either database; every column is a number, a text or bytes.
pub trait Columns: Send + Sync + 'static {
    /// A number, `None` for NULL.
    ///
    /// # Errors
    ///
    /// When there is no such column, or it holds something else.
    fn int(&self, name: &str) -> Result<Option<i64>, sqlx::Error>;

    /// A text, `None` for NULL.
    ///
    /// # Errors
    ///
    /// When there is no such column, or it holds something else.
    fn text(&self, name: &str) -> Result<Option<String>, sqlx::Error>;

    /// Bytes, `None` for NULL.
    ///
    /// # Errors
    ///
    /// When there is no such column, or it holds something else.
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error>;
}

/// Implements [`Columns`] for the rows of a database, whose types are all its own.
macro_rules! columns {
    ($row:ty) => {
        impl Columns for $row {
            fn int(&self, name: &str) -> Result<Option<i64>, sqlx::Error> {
                self.try_get(name)
            }

            fn text(&self, name: &str) -> Result<Option<String>, sqlx::Error> {
                self.try_get(name)
            }

            fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
                self.try_get(name)
            }
        }
    };
}

columns!(SqliteRow);
columns!(PgRow);

fn unreadable(name: &str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
    move |error| corrupt(format!("column {name}: {error}"))
}

fn missing(name: &str) -> impl Fn() -> StoreError + '_ {
    move || corrupt(format!("column {name} is empty"))
}

fn optional_int(row: &impl Columns, name: &str) -> Result<Option<i64>, StoreError> {
    row.int(name).map_err(unreadable(name))
}

pub(super) fn int(row: &impl Columns, name: &str) -> Result<i64, StoreError> {
    optional_int(row, name)?.ok_or_else(missing(name))
}

fn unsigned(row: &impl Columns, name: &str) -> Result<u64, StoreError> {
    int(row, name).map(i64::cast_unsigned)
}

fn time(row: &impl Columns, name: &str) -> Result<Millis, StoreError> {
    int(row, name).map(Millis)
}

fn optional_time(row: &impl Columns, name: &str) -> Result<Option<Millis>, StoreError> {
    Ok(optional_int(row, name)?.map(Millis))
}

fn optional_text(row: &impl Columns, name: &str) -> Result<Option<String>, StoreError> {
    row.text(name).map_err(unreadable(name))
}

fn text(row: &impl Columns, name: &str) -> Result<String, StoreError> {
    optional_text(row, name)?.ok_or_else(missing(name))
}

fn optional_bytes(row: &impl Columns, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    row.bytes(name).map_err(unreadable(name))
}

fn bytes(row: &impl Columns, name: &str) -> Result<Vec<u8>, StoreError> {
    optional_bytes(row, name)?.ok_or_else(missing(name))
}

fn word<T>(row: &impl Columns, name: &str) -> Result<T, StoreError>
where
    T: std::str::FromStr<Err = UnknownWord>,
{
    text(row, name)?.parse().map_err(corrupt)
}

fn optional_word<T>(row: &impl Columns, name: &str) -> Result<Option<T>, StoreError>
where
    T: std::str::FromStr<Err = UnknownWord>,
{
    optional_text(row, name)?.map(|text| text.parse().map_err(corrupt)).transpose()
}

/// Reads an id column.
pub(super) fn id<T>(row: &impl Columns, name: &str) -> Result<T, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = IdError>,
{
    T::try_from(&bytes(row, name)?).map_err(|error| corrupt(format!("{name}: {error}")))
}

fn optional_id<T>(row: &impl Columns, name: &str) -> Result<Option<T>, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = IdError>,
{
    optional_bytes(row, name)?
        .map(|bytes| T::try_from(&bytes).map_err(|error| corrupt(format!("{name}: {error}"))))
        .transpose()
}

pub(super) fn address(row: &impl Columns, name: &str) -> Result<Address, StoreError> {
    Address::try_from(bytes(row, name)?.as_slice()).map_err(corrupt)
}

fn blob(row: &impl Columns, size: &str, sha256: &str) -> Result<BlobInfo, StoreError> {
    Ok(BlobInfo { size: unsigned(row, size)?, sha256: id(row, sha256)? })
}

/// A program.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the column that does not hold what it should.
pub fn program(row: &impl Columns) -> Result<ProgramRecord, StoreError> {
    Ok(ProgramRecord {
        vk_hash: id(row, "vk_hash")?,
        vk: bytes(row, "vk")?,
        artifact: id(row, "artifact")?,
        blob: blob(row, "size", "sha256")?,
        owner: address(row, "owner")?,
        created_at: time(row, "created_at")?,
    })
}

/// An artifact.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the column that does not hold what it should.
pub fn artifact(row: &impl Columns) -> Result<ArtifactRecord, StoreError> {
    let stored = optional_int(row, "size")?.is_some();
    Ok(ArtifactRecord {
        id: id(row, "id")?,
        kind: word(row, "kind")?,
        owner: address(row, "owner")?,
        blob: if stored { Some(blob(row, "size", "sha256")?) } else { None },
        created_at: time(row, "created_at")?,
        delivered_at: optional_time(row, "delivered_at")?,
        expired_at: optional_time(row, "expired_at")?,
        removed_at: optional_time(row, "removed_at")?,
    })
}

fn execution(row: &impl Columns) -> Result<Option<Execution>, StoreError> {
    let Some(cycles) = optional_int(row, "cycles")? else { return Ok(None) };
    Ok(Some(Execution {
        cycles: cycles.cast_unsigned(),
        gas: optional_int(row, "gas")?.map(i64::cast_unsigned),
        public_values_hash: id::<Sha256Digest>(row, "public_values_hash")?,
    }))
}

/// When an attempt failed by a worker's fault, and whose.
pub(super) fn strike(row: &impl Columns) -> Result<(WorkerId, Millis), StoreError> {
    Ok((id(row, "worker")?, time(row, "ended_at")?))
}

/// A job.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the column that does not hold what it should.
pub fn job(row: &impl Columns) -> Result<JobRecord, StoreError> {
    let failure = match optional_text(row, "failure_class")? {
        None => None,
        Some(class) => Some(Failure {
            class: class_from(&class)?,
            cause: cause_from(int(row, "failure_cause")?)?,
            // Known of an attempt only.
            out_of_memory: None,
            message: optional_text(row, "failure")?.unwrap_or_default(),
        }),
    };
    let prover = match optional_id(row, "worker")? {
        None => None,
        Some(worker) => Some(Prover {
            worker,
            name: text(row, "worker_name")?,
            backend: backend_from(&text(row, "worker_backend")?)?,
        }),
    };
    Ok(JobRecord {
        id: id(row, "id")?,
        key: id(row, "key")?,
        spec: JobSpec {
            vk_hash: id(row, "vk_hash")?,
            circuit_version: text(row, "circuit_version")?,
            mode: mode_from(int(row, "mode")?)?,
            cycle_limit: unsigned(row, "cycle_limit")?,
            gas_limit: unsigned(row, "gas_limit")?,
        },
        program: id(row, "program")?,
        program_blob: blob(row, "program_size", "program_sha256")?,
        stdin: id(row, "stdin")?,
        stdin_blob: blob(row, "stdin_size", "stdin_sha256")?,
        state: word(row, "state")?,
        priority: optional_word(row, "priority")?,
        execution: execution(row)?,
        failure,
        proof: optional_id(row, "proof")?,
        prover,
        attempts: u32::try_from(int(row, "attempts")?).map_err(corrupt)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        started_at: optional_time(row, "started_at")?,
        finished_at: optional_time(row, "finished_at")?,
    })
}

/// An attempt.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the column that does not hold what it should.
pub fn attempt(row: &impl Columns) -> Result<AttemptRecord, StoreError> {
    let proof = match optional_id(row, "proof")? {
        None => None,
        Some(proof) => Some((proof, blob(row, "proof_size", "proof_sha256")?)),
    };
    let class = optional_text(row, "failure_class")?;
    let out_of_memory = match optional_text(row, "short_of")? {
        None => None,
        Some(word) => {
            let bytes = optional_int(row, "short_bytes")?.map(i64::cast_unsigned);
            Some(OutOfMemory { memory: memory_from(&word)?, bytes })
        }
    };
    Ok(AttemptRecord {
        lease: id(row, "lease")?,
        job: id(row, "job")?,
        prover: Prover {
            worker: id(row, "worker")?,
            name: text(row, "worker_name")?,
            backend: backend_from(&text(row, "worker_backend")?)?,
        },
        started_at: time(row, "started_at")?,
        begun_at: optional_time(row, "begun_at")?,
        ended_at: optional_time(row, "ended_at")?,
        outcome: word(row, "outcome")?,
        failure_class: class.as_deref().map(class_from).transpose()?,
        out_of_memory,
        message: optional_text(row, "message")?,
        execution: execution(row)?,
        proof,
    })
}

/// A request.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the column that does not hold what it should.
pub fn request(row: &impl Columns) -> Result<RequestRecord, StoreError> {
    let whitelist = bytes(row, "whitelist")?;
    Ok(RequestRecord {
        id: id(row, "id")?,
        job: id(row, "job")?,
        requester: address(row, "requester")?,
        network_mode: word(row, "network_mode")?,
        strategy: i32::try_from(int(row, "strategy")?).map_err(corrupt)?,
        version: text(row, "version")?,
        stdin_uri: text(row, "stdin_uri")?,
        stdin_private: int(row, "stdin_private")? != 0,
        deadline: unsigned(row, "deadline")?,
        min_auction_period: unsigned(row, "min_auction_period")?,
        whitelist: whitelist.chunks_exact(20).map(Address::from_slice).collect(),
        state: word(row, "state")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        fulfilled_at: optional_time(row, "fulfilled_at")?,
    })
}

pub(super) fn setting(row: &impl Columns) -> Result<Setting, StoreError> {
    Ok(Setting {
        kind: word(row, "kind")?,
        subject: text(row, "subject")?,
        reason: text(row, "reason")?,
        since: time(row, "since")?,
    })
}

pub(super) fn token(row: &impl Columns) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        id: id(row, "id")?,
        name: text(row, "name")?,
        role: word(row, "role")?,
        digest: id(row, "digest")?,
        created_at: time(row, "created_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
    })
}

pub(super) fn notice(row: &impl Columns) -> Result<NoticeRecord, StoreError> {
    Ok(NoticeRecord {
        id: NoticeId::try_from(bytes(row, "id")?).map_err(|_| corrupt("id: not 16 bytes"))?,
        receiver: id(row, "receiver")?,
        request: id(row, "request")?,
        state: word(row, "state")?,
        ended_at: time(row, "ended_at")?,
        attempts: u32::try_from(int(row, "attempts")?).map_err(corrupt)?,
        next_at: time(row, "next_at")?,
    })
}

/// A receiver and how many notices are kept for it.
pub(super) fn notice_count(row: &impl Columns) -> Result<(Sha256Digest, u64), StoreError> {
    Ok((id(row, "receiver")?, unsigned(row, "notices")?))
}
