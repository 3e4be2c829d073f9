//! Stored form of numbers and names of records, the same in both databases.

use network_lib::job::{ExecutionFailureCause, ProofMode};

use crate::StoreError;

/// End of an attempt, for sorting. A job that fails is given out again in the same millisecond, so starts alone do
/// not say which attempt was first.
pub(crate) const ENDED_AT: &str = "COALESCE(ended_at, 9223372036854775807)";

/// States of jobs that have not ended, as the index of them has it.
pub(crate) const UNFINISHED: &str = "('queued', 'leased', 'proving', 'uploaded', 'verifying')";

/// States of requests and jobs that ended without a proof, in the order of their indexes.
pub(crate) const UNSUCCESSFUL: &str = "('unexecutable', 'failed', 'cancelled', 'expired')";

/// An unsigned number with its bits unchanged in a signed column.
pub(crate) const fn bits(value: u64) -> i64 {
    value.cast_signed()
}

/// A deadline, capped so that it can be compared in SQL.
pub(crate) fn capped(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

pub(crate) const fn mode_number(mode: ProofMode) -> i64 {
    match mode {
        ProofMode::Core => 1,
        ProofMode::Compressed => 2,
        ProofMode::Plonk => 3,
        ProofMode::Groth16 => 4,
    }
}

pub(crate) fn mode_from(number: i64) -> Result<ProofMode, StoreError> {
    let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
    let mode = ProofMode::ALL.get(index).copied();
    mode.ok_or_else(|| corrupt(format!("unknown proof mode {number}")))
}

/// Number of a cause in the client protocol, 0 for none.
pub(crate) const fn cause_number(cause: Option<ExecutionFailureCause>) -> i64 {
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

pub(crate) fn cause_from(number: i64) -> Result<Option<ExecutionFailureCause>, StoreError> {
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

pub(crate) fn corrupt(reason: impl ToString) -> StoreError {
    StoreError::Corrupt { reason: reason.to_string() }
}
