//! Conversion of rows to records. A row may hold anything: files get damaged, and other programs write to
//! databases.

use std::error::Error;
use std::sync::LazyLock;

use alloy_primitives::Address;
use hierophant_model::clients::Owner;
use hierophant_model::records::{
    ArtifactRecord, AttemptRecord, AttemptTask, AuditRecord, JobRecord, Millis, NoticeId,
    NoticeRecord, ProgramRecord, Prover, RequestRecord, RequestView, Setting, TokenRecord,
    TokenUse,
};
use network_lib::ids::{IdError, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec, OutOfMemory};
use network_lib::named::UnknownName;

use crate::StoreError;
use crate::values::{cause_from, corrupt, mode_from};

/// Error of reading a column.
pub type ColumnError = Box<dyn Error + Send + Sync>;

/// A row of either database; each column is a number, text or bytes.
pub trait Columns {
    /// A number, `None` for NULL.
    ///
    /// # Errors
    ///
    /// If the column is missing or of another type.
    fn int(&self, name: &str) -> Result<Option<i64>, ColumnError>;

    /// Text, `None` for NULL.
    ///
    /// # Errors
    ///
    /// If the column is missing or of another type.
    fn text(&self, name: &str) -> Result<Option<String>, ColumnError>;

    /// Bytes, `None` for NULL.
    ///
    /// # Errors
    ///
    /// If the column is missing or of another type.
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ColumnError>;
}

fn unreadable(name: &str) -> impl Fn(ColumnError) -> StoreError + '_ {
    move |error| corrupt(format!("column {name}: {error}"))
}

fn missing(name: &str) -> impl Fn() -> StoreError + '_ {
    move || corrupt(format!("column {name} is empty"))
}

pub(crate) fn optional_int(row: &dyn Columns, name: &str) -> Result<Option<i64>, StoreError> {
    row.int(name).map_err(unreadable(name))
}

pub(crate) fn int(row: &dyn Columns, name: &str) -> Result<i64, StoreError> {
    optional_int(row, name)?.ok_or_else(missing(name))
}

pub(crate) fn unsigned(row: &dyn Columns, name: &str) -> Result<u64, StoreError> {
    int(row, name).map(i64::cast_unsigned)
}

pub(crate) fn time(row: &dyn Columns, name: &str) -> Result<Millis, StoreError> {
    int(row, name).map(Millis)
}

pub(crate) fn optional_time(row: &dyn Columns, name: &str) -> Result<Option<Millis>, StoreError> {
    Ok(optional_int(row, name)?.map(Millis))
}

pub(crate) fn optional_text(row: &dyn Columns, name: &str) -> Result<Option<String>, StoreError> {
    row.text(name).map_err(unreadable(name))
}

pub(crate) fn text(row: &dyn Columns, name: &str) -> Result<String, StoreError> {
    optional_text(row, name)?.ok_or_else(missing(name))
}

pub(crate) fn optional_bytes(row: &dyn Columns, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    row.bytes(name).map_err(unreadable(name))
}

pub(crate) fn bytes(row: &dyn Columns, name: &str) -> Result<Vec<u8>, StoreError> {
    optional_bytes(row, name)?.ok_or_else(missing(name))
}

pub(crate) fn word<T>(row: &dyn Columns, name: &str) -> Result<T, StoreError>
where
    T: std::str::FromStr<Err = UnknownName>,
{
    text(row, name)?.parse().map_err(corrupt)
}

fn optional_word<T>(row: &dyn Columns, name: &str) -> Result<Option<T>, StoreError>
where
    T: std::str::FromStr<Err = UnknownName>,
{
    optional_text(row, name)?.map(|text| text.parse().map_err(corrupt)).transpose()
}

/// Reads an id column.
pub(crate) fn id<T>(row: &dyn Columns, name: &str) -> Result<T, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = IdError>,
{
    T::try_from(&bytes(row, name)?).map_err(|error| corrupt(format!("{name}: {error}")))
}

pub(crate) fn optional_id<T>(row: &dyn Columns, name: &str) -> Result<Option<T>, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = IdError>,
{
    optional_bytes(row, name)?
        .map(|bytes| T::try_from(&bytes).map_err(|error| corrupt(format!("{name}: {error}"))))
        .transpose()
}

pub(crate) fn address(row: &dyn Columns, name: &str) -> Result<Address, StoreError> {
    Address::try_from(bytes(row, name)?.as_slice()).map_err(corrupt)
}

/// A blob, `None` for NULL.
pub(crate) fn optional_blob(
    row: &dyn Columns,
    size: &str,
    sha256: &str,
) -> Result<Option<BlobInfo>, StoreError> {
    optional_int(row, size)?.map(|_| blob(row, size, sha256)).transpose()
}

fn blob(row: &dyn Columns, size: &str, sha256: &str) -> Result<BlobInfo, StoreError> {
    Ok(BlobInfo { size: unsigned(row, size)?, sha256: id(row, sha256)? })
}

/// A program.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the unreadable column.
pub fn program(row: &dyn Columns) -> Result<ProgramRecord, StoreError> {
    Ok(ProgramRecord {
        vk_hash: id(row, "vk_hash")?,
        vk: bytes(row, "vk")?,
        artifact: id(row, "artifact")?,
        blob: blob(row, "size", "sha256")?,
        owner: address(row, "owner")?,
        client: optional_text(row, "client")?.map(Into::into),
        state: word(row, "state")?,
        created_at: time(row, "created_at")?,
    })
}

/// An artifact.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the unreadable column.
pub fn artifact(row: &dyn Columns) -> Result<ArtifactRecord, StoreError> {
    let stored = optional_int(row, "size")?.is_some();
    Ok(ArtifactRecord {
        id: id(row, "id")?,
        kind: word(row, "kind")?,
        owner: address(row, "owner")?,
        client: optional_text(row, "client")?.map(Into::into),
        blob: if stored { Some(blob(row, "size", "sha256")?) } else { None },
        created_at: time(row, "created_at")?,
        delivered_at: optional_time(row, "delivered_at")?,
        expired_at: optional_time(row, "expired_at")?,
        removed_at: optional_time(row, "removed_at")?,
    })
}

fn execution(row: &dyn Columns) -> Result<Option<Execution>, StoreError> {
    let Some(cycles) = optional_int(row, "cycles")? else { return Ok(None) };
    Ok(Some(Execution {
        cycles: cycles.cast_unsigned(),
        gas: optional_int(row, "gas")?.map(i64::cast_unsigned),
        public_values_hash: id::<Sha256Digest>(row, "public_values_hash")?,
    }))
}

/// Worker and end of a failed attempt.
pub(crate) fn strike(row: &dyn Columns) -> Result<(WorkerId, Millis), StoreError> {
    Ok((id(row, "worker")?, time(row, "ended_at")?))
}

/// A job.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the unreadable column.
pub fn job(row: &dyn Columns) -> Result<JobRecord, StoreError> {
    let failure = match optional_word(row, "failure_class")? {
        None => None,
        Some(class) => Some(Failure {
            cause: cause_from(int(row, "failure_cause")?)?,
            // `out_of_memory` is stored for attempts only.
            ..Failure::new(class, optional_text(row, "failure")?.unwrap_or_default())
        }),
    };
    let prover = match optional_id(row, "worker")? {
        None => None,
        Some(worker) => Some(Prover {
            worker,
            name: text(row, "worker_name")?,
            backend: word(row, "worker_backend")?,
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
/// [`StoreError::Corrupt`] names the unreadable column.
pub fn attempt(row: &dyn Columns) -> Result<AttemptRecord, StoreError> {
    let proof = match optional_id(row, "proof")? {
        None => None,
        Some(proof) => Some((proof, blob(row, "proof_size", "proof_sha256")?)),
    };
    let out_of_memory = match optional_word(row, "short_of")? {
        None => None,
        Some(memory) => {
            let bytes = optional_int(row, "short_bytes")?.map(i64::cast_unsigned);
            Some(OutOfMemory { memory, bytes })
        }
    };
    let task = match optional_id(row, "task")? {
        None => None,
        Some(id) => Some(AttemptTask { id, kind: word(row, "task_kind")? }),
    };
    Ok(AttemptRecord {
        lease: id(row, "lease")?,
        job: id(row, "job")?,
        task,
        prover: Prover {
            worker: id(row, "worker")?,
            name: text(row, "worker_name")?,
            backend: word(row, "worker_backend")?,
        },
        started_at: time(row, "started_at")?,
        first_progress_at: optional_time(row, "begun_at")?,
        ended_at: optional_time(row, "ended_at")?,
        outcome: word(row, "outcome")?,
        failure_class: optional_word(row, "failure_class")?,
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
/// [`StoreError::Corrupt`] names the unreadable column.
pub fn request(row: &dyn Columns) -> Result<RequestRecord, StoreError> {
    let whitelist = bytes(row, "whitelist")?;
    Ok(RequestRecord {
        id: id(row, "id")?,
        job: id(row, "job")?,
        requester: address(row, "requester")?,
        client: optional_text(row, "client")?.map(Into::into),
        token: optional_id(row, "token")?,
        stated_digest: optional_id(row, "stated_digest")?,
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

/// Immutable columns of jobs: what to prove, and the creation time.
pub(crate) const JOB_IMMUTABLE: [&str; 14] = [
    "id",
    "key",
    "vk_hash",
    "circuit_version",
    "mode",
    "cycle_limit",
    "gas_limit",
    "program",
    "program_size",
    "program_sha256",
    "stdin",
    "stdin_size",
    "stdin_sha256",
    "created_at",
];

/// Mutable columns of jobs.
const JOB_MUTABLE: [&str; 16] = [
    "state",
    "priority",
    "cycles",
    "gas",
    "public_values_hash",
    "failure",
    "failure_cause",
    "failure_class",
    "proof",
    "worker",
    "worker_name",
    "worker_backend",
    "attempts",
    "updated_at",
    "started_at",
    "finished_at",
];

/// Beginning of a statement that reads [`view`]s; conditions refer to `r`, the request, and `j`, its job.
pub(crate) static SELECT_VIEWS: LazyLock<String> = LazyLock::new(|| select_views("r.job"));

/// The same for the request whose id is the first parameter. Its job is found by a key that is known before, so that no
/// plan walks all jobs for it.
pub(crate) static SELECT_VIEW: LazyLock<String> = LazyLock::new(|| {
    let views = select_views("(SELECT job FROM requests WHERE id = $1)");
    format!("{views} WHERE r.id = $1")
});

fn select_views(job: &str) -> String {
    // A job's columns get the prefix `job_`.
    let columns = JOB_IMMUTABLE.iter().chain(&JOB_MUTABLE);
    let columns: String = columns.map(|name| format!(", j.{name} AS job_{name}")).collect();
    format!("SELECT r.*{columns} FROM requests r LEFT JOIN jobs j ON j.id = {job}")
}

/// A request with its job.
pub(crate) fn view(row: &dyn Columns) -> Result<RequestView, StoreError> {
    Ok(RequestView { request: request(row)?, job: job(&JobOf(row))? })
}

/// The job's columns in a row of [`SELECT_VIEWS`].
struct JobOf<'a>(&'a dyn Columns);

impl Columns for JobOf<'_> {
    fn int(&self, name: &str) -> Result<Option<i64>, ColumnError> {
        self.0.int(&format!("job_{name}"))
    }

    fn text(&self, name: &str) -> Result<Option<String>, ColumnError> {
        self.0.text(&format!("job_{name}"))
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ColumnError> {
        self.0.bytes(&format!("job_{name}"))
    }
}

pub(crate) fn setting(row: &dyn Columns) -> Result<Setting, StoreError> {
    Ok(Setting {
        kind: word(row, "kind")?,
        subject: text(row, "subject")?,
        reason: text(row, "reason")?,
        since: time(row, "since")?,
    })
}

pub(crate) fn token(row: &dyn Columns) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        id: id(row, "id")?,
        name: text(row, "name")?,
        role: word(row, "role")?,
        client: optional_text(row, "client")?.map(Into::into),
        digest: id(row, "digest")?,
        created_at: time(row, "created_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
        expires_at: optional_time(row, "expires_at")?,
        used: token_use(row)?,
    })
}

fn token_use(row: &dyn Columns) -> Result<Option<TokenUse>, StoreError> {
    let from = optional_text(row, "used_from")?;
    let from = from.map(|from| from.parse().map_err(corrupt)).transpose()?;
    Ok(optional_time(row, "used_at")?.zip(from).map(|(at, from)| TokenUse { at, from }))
}

pub(crate) fn notice(row: &dyn Columns) -> Result<NoticeRecord, StoreError> {
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

pub(crate) fn audited(row: &dyn Columns) -> Result<AuditRecord, StoreError> {
    let by = match (optional_text(row, "token")?, optional_text(row, "name")?) {
        (Some(token), Some(name)) => Some((token.parse().map_err(corrupt)?, name)),
        _ => None,
    };
    Ok(AuditRecord {
        id: id(row, "id")?,
        at: time(row, "at")?,
        by,
        peer: text(row, "peer")?,
        forwarded: optional_text(row, "forwarded")?,
        program: text(row, "program")?,
        action: text(row, "action")?,
        body: text(row, "body")?,
        code: u16::try_from(int(row, "code")?).map_err(corrupt)?,
    })
}

/// A receiver, an owner of requests and the number of pending notices.
pub(crate) fn notice_count(row: &dyn Columns) -> Result<((Sha256Digest, Owner), u64), StoreError> {
    let requester = optional_bytes(row, "requester")?;
    let requester = requester.as_deref().map(Address::try_from).transpose().map_err(corrupt)?;
    let owner = (requester.unwrap_or_default(), optional_text(row, "client")?.map(Into::into));
    Ok(((id(row, "receiver")?, owner), unsigned(row, "notices")?))
}
