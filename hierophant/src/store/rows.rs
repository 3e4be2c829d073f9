//! Between records and rows: how each column is written and read back.

use alloy_primitives::Address;
use network_lib::handshake::Backend;
use network_lib::ids::Sha256Digest;
use network_lib::job::{
    BlobInfo, Execution, ExecutionFailureCause, Failure, FailureClass, JobSpec, ProofMode,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::StoreError;
use crate::records::{ArtifactRecord, AttemptRecord, JobRecord, Millis, ProgramRecord, Prover, RequestRecord};

/// An unsigned number with its bits unchanged in a signed column.
pub(super) const fn bits(value: u64) -> i64 {
    value.cast_signed()
}

/// A deadline, capped so that it can be compared in SQL.
pub(super) fn capped(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

pub(super) const fn mode_number(mode: ProofMode) -> i64 {
    match mode {
        ProofMode::Core => 1,
        ProofMode::Compressed => 2,
        ProofMode::Plonk => 3,
        ProofMode::Groth16 => 4,
    }
}

fn mode_from(number: i64) -> Result<ProofMode, StoreError> {
    let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
    let mode = ProofMode::ALL.get(index).copied();
    mode.ok_or_else(|| corrupt(format!("unknown proof mode {number}")))
}

/// The client wire's numbering, 0 for none.
pub(super) const fn cause_number(cause: Option<ExecutionFailureCause>) -> i64 {
    use ExecutionFailureCause as Cause;
    match cause {
        None => 0,
        Some(Cause::HaltWithNonZeroExitCode) => 1,
        Some(Cause::InvalidMemoryAccess) => 2,
        Some(Cause::UnsupportedSyscall) => 3,
        Some(Cause::Breakpoint) => 4,
        Some(Cause::ExceededCycleLimit) => 5,
        Some(Cause::InvalidSyscallUsage) => 6,
        Some(Cause::Unimplemented) => 7,
        Some(Cause::EndInUnconstrained) => 8,
        Some(Cause::ExceededGasLimit) => 9,
    }
}

fn cause_from(number: i64) -> Result<Option<ExecutionFailureCause>, StoreError> {
    use ExecutionFailureCause as Cause;
    Ok(match number {
        0 => None,
        1 => Some(Cause::HaltWithNonZeroExitCode),
        2 => Some(Cause::InvalidMemoryAccess),
        3 => Some(Cause::UnsupportedSyscall),
        4 => Some(Cause::Breakpoint),
        5 => Some(Cause::ExceededCycleLimit),
        6 => Some(Cause::InvalidSyscallUsage),
        7 => Some(Cause::Unimplemented),
        8 => Some(Cause::EndInUnconstrained),
        9 => Some(Cause::ExceededGasLimit),
        _ => return Err(corrupt(format!("unknown failure cause {number}"))),
    })
}

fn class_from(word: &str) -> Result<FailureClass, StoreError> {
    Ok(match word {
        "guest" => FailureClass::Guest,
        "request" => FailureClass::Request,
        "worker" => FailureClass::Worker,
        "infrastructure" => FailureClass::Infrastructure,
        _ => return Err(corrupt(format!("unknown failure class {word:?}"))),
    })
}

fn backend_from(word: &str) -> Result<Backend, StoreError> {
    Ok(match word {
        "cpu" => Backend::Cpu,
        "cuda" => Backend::Cuda,
        "mock" => Backend::Mock,
        _ => return Err(corrupt(format!("unknown backend {word:?}"))),
    })
}

fn corrupt(reason: impl ToString) -> StoreError {
    StoreError::Corrupt { reason: reason.to_string() }
}

/// Reads one column, with a readable error.
fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(|error| corrupt(format!("column {name}: {error}")))
}

fn word<T>(row: &SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: std::str::FromStr<Err = crate::records::UnknownWord>,
{
    column::<String>(row, name)?.parse().map_err(corrupt)
}

/// Reads an id column.
pub(super) fn id<T>(row: &SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = network_lib::ids::IdError>,
{
    T::try_from(&column::<Vec<u8>>(row, name)?).map_err(|error| corrupt(format!("{name}: {error}")))
}

fn optional_id<T>(row: &SqliteRow, name: &str) -> Result<Option<T>, StoreError>
where
    T: for<'a> TryFrom<&'a [u8], Error = network_lib::ids::IdError>,
{
    let bytes = column::<Option<Vec<u8>>>(row, name)?;
    bytes
        .map(|bytes| T::try_from(&bytes).map_err(|error| corrupt(format!("{name}: {error}"))))
        .transpose()
}

fn address(row: &SqliteRow, name: &str) -> Result<Address, StoreError> {
    Address::try_from(column::<Vec<u8>>(row, name)?.as_slice()).map_err(corrupt)
}

fn blob(row: &SqliteRow, size: &str, sha256: &str) -> Result<BlobInfo, StoreError> {
    Ok(BlobInfo { size: column::<i64>(row, size)?.cast_unsigned(), sha256: id(row, sha256)? })
}

pub(super) fn program(row: &SqliteRow) -> Result<ProgramRecord, StoreError> {
    Ok(ProgramRecord {
        vk_hash: id(row, "vk_hash")?,
        vk: column(row, "vk")?,
        artifact: id(row, "artifact")?,
        blob: blob(row, "size", "sha256")?,
        owner: address(row, "owner")?,
        created_at: Millis(column(row, "created_at")?),
    })
}

pub(super) fn artifact(row: &SqliteRow) -> Result<ArtifactRecord, StoreError> {
    let stored = column::<Option<i64>>(row, "size")?.is_some();
    Ok(ArtifactRecord {
        id: id(row, "id")?,
        kind: word(row, "kind")?,
        owner: address(row, "owner")?,
        blob: if stored { Some(blob(row, "size", "sha256")?) } else { None },
        created_at: Millis(column(row, "created_at")?),
    })
}

pub(super) fn job(row: &SqliteRow) -> Result<JobRecord, StoreError> {
    let execution = match column::<Option<i64>>(row, "cycles")? {
        None => None,
        Some(cycles) => Some(Execution {
            cycles: cycles.cast_unsigned(),
            gas: column::<Option<i64>>(row, "gas")?.map(i64::cast_unsigned),
            public_values_hash: id::<Sha256Digest>(row, "public_values_hash")?,
        }),
    };
    let failure = match column::<Option<String>>(row, "failure_class")? {
        None => None,
        Some(class) => Some(Failure {
            class: class_from(&class)?,
            cause: cause_from(column(row, "failure_cause")?)?,
            message: column::<Option<String>>(row, "failure")?.unwrap_or_default(),
        }),
    };
    let prover = match optional_id(row, "worker")? {
        None => None,
        Some(worker) => Some(Prover {
            worker,
            name: column(row, "worker_name")?,
            backend: backend_from(&column::<String>(row, "worker_backend")?)?,
        }),
    };
    Ok(JobRecord {
        id: id(row, "id")?,
        key: id(row, "key")?,
        spec: JobSpec {
            vk_hash: id(row, "vk_hash")?,
            circuit_version: column(row, "circuit_version")?,
            mode: mode_from(column(row, "mode")?)?,
            cycle_limit: column::<i64>(row, "cycle_limit")?.cast_unsigned(),
            gas_limit: column::<i64>(row, "gas_limit")?.cast_unsigned(),
        },
        program: id(row, "program")?,
        program_blob: blob(row, "program_size", "program_sha256")?,
        stdin: id(row, "stdin")?,
        stdin_blob: blob(row, "stdin_size", "stdin_sha256")?,
        state: word(row, "state")?,
        execution,
        failure,
        proof: optional_id(row, "proof")?,
        prover,
        attempts: u32::try_from(column::<i64>(row, "attempts")?).map_err(corrupt)?,
        created_at: Millis(column(row, "created_at")?),
        updated_at: Millis(column(row, "updated_at")?),
        started_at: column::<Option<i64>>(row, "started_at")?.map(Millis),
        finished_at: column::<Option<i64>>(row, "finished_at")?.map(Millis),
    })
}

pub(super) fn attempt(row: &SqliteRow) -> Result<AttemptRecord, StoreError> {
    let proof = match optional_id(row, "proof")? {
        None => None,
        Some(proof) => Some((proof, blob(row, "proof_size", "proof_sha256")?)),
    };
    let class = column::<Option<String>>(row, "failure_class")?;
    Ok(AttemptRecord {
        lease: id(row, "lease")?,
        job: id(row, "job")?,
        prover: Prover {
            worker: id(row, "worker")?,
            name: column(row, "worker_name")?,
            backend: backend_from(&column::<String>(row, "worker_backend")?)?,
        },
        started_at: Millis(column(row, "started_at")?),
        ended_at: column::<Option<i64>>(row, "ended_at")?.map(Millis),
        outcome: word(row, "outcome")?,
        failure_class: class.as_deref().map(class_from).transpose()?,
        message: column(row, "message")?,
        proof,
    })
}

pub(super) fn request(row: &SqliteRow) -> Result<RequestRecord, StoreError> {
    let whitelist = column::<Vec<u8>>(row, "whitelist")?;
    Ok(RequestRecord {
        id: id(row, "id")?,
        job: id(row, "job")?,
        requester: address(row, "requester")?,
        network_mode: word(row, "network_mode")?,
        strategy: i32::try_from(column::<i64>(row, "strategy")?).map_err(corrupt)?,
        version: column(row, "version")?,
        stdin_uri: column(row, "stdin_uri")?,
        stdin_private: column::<i64>(row, "stdin_private")? != 0,
        deadline: column::<i64>(row, "deadline")?.cast_unsigned(),
        min_auction_period: column::<i64>(row, "min_auction_period")?.cast_unsigned(),
        whitelist: whitelist.chunks_exact(20).map(Address::from_slice).collect(),
        state: word(row, "state")?,
        created_at: Millis(column(row, "created_at")?),
        updated_at: Millis(column(row, "updated_at")?),
        fulfilled_at: column::<Option<i64>>(row, "fulfilled_at")?.map(Millis),
    })
}
