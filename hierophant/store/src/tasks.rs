//! Rows of jobs that are proved as tasks of many workers.

use hierophant_model::records::{
    AttemptRecord, DeferredEvents, Millis, ShardingRecord, TaskRecord,
};
use network_lib::ids::{JobId, TaskId};
use network_lib::job::BlobInfo;
use network_lib::shard::{Named, TaskKind};
use shard_plan::{Key, ShardKind, ShardRange};

use crate::StoreError;
use crate::rows::{self, Columns};
use crate::statement::Statement;
use crate::table_write::{TableWrite, Write};
use crate::values::{ENDED_AT, bits, corrupt, mode_from, mode_number};

static SHARDINGS: TableWrite =
    TableWrite::upsert("shardings", &["job"], |name| name != "created_at");
static ENDED: TableWrite = TableWrite::update("shardings", &["job"], "");
static REMOVED: TableWrite = TableWrite::delete("shardings", &["job"], "");
// Job and key of a task never change.
static TASKS: TableWrite =
    TableWrite::upsert("tasks", &["id"], |name| !["job", "key"].contains(&name));
static TASKS_REMOVED: TableWrite = TableWrite::delete("tasks", &["job"], "");

/// Numbers of a job's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Tasks whose results are stored.
    pub done: u64,
    /// All tasks whose results are needed.
    pub all: u64,
    /// Workers that made a stored result.
    pub workers: u64,
}

/// Writes a division that has not ended; its end, if an earlier division of the job has one, is cleared.
pub(crate) fn sharding(record: &ShardingRecord) -> Write {
    let (common, values) = (record.common, record.public_values);
    SHARDINGS.row(vec![
        ("job", record.job.0.as_slice().into()),
        ("mode", mode_number(record.mode).into()),
        ("engine", record.engine.as_str().into()),
        ("max_elements", bits(record.max_elements).into()),
        ("common_size", common.map(|blob| bits(blob.size)).into()),
        ("common_sha256", common.map(|blob| blob.sha256.0).into()),
        ("public_values_size", values.map(|blob| bits(blob.size)).into()),
        ("public_values_sha256", values.map(|blob| blob.sha256.0).into()),
        ("executed_at", record.executed_at.map(|at| at.0).into()),
        ("restarts", i64::from(record.restarts).into()),
        ("created_at", record.created_at.0.into()),
        ("ended_at", None::<i64>.into()),
    ])
}

pub(crate) fn sharding_ended(job: JobId, at: Millis) -> Write {
    ENDED.row(vec![("ended_at", at.0.into()), ("job", job.0.as_slice().into())])
}

pub(crate) fn sharding_removed(job: JobId) -> Write {
    REMOVED.row(vec![("job", job.0.as_slice().into())])
}

pub(crate) fn tasks_removed(job: JobId) -> Write {
    TASKS_REMOVED.row(vec![("job", job.0.as_slice().into())])
}

pub(crate) fn task(task: &TaskRecord) -> Write {
    let range = task.range.map(range_bytes);
    let children: Vec<u8> = task.children.iter().flat_map(|child| child.0).collect();
    let deferred = task.deferred.as_ref().map(|deferred| {
        named_text(std::iter::once(&deferred.index).chain(&deferred.events).cloned().collect())
    });
    TASKS.row(vec![
        ("id", task.id.0.as_slice().into()),
        ("job", task.job.0.as_slice().into()),
        ("key", task.key.0.as_slice().into()),
        ("kind", task.kind.as_str().into()),
        ("shard", task.shard.map(ShardKind::as_str).into()),
        ("range", range.into()),
        ("record_size", task.record.map(|blob| bits(blob.size)).into()),
        ("record_sha256", task.record.map(|blob| blob.sha256.0).into()),
        ("named", named_text(task.named.clone()).as_str().into()),
        ("children", children.as_slice().into()),
        ("complete", i64::from(task.complete).into()),
        ("state", task.state.as_str().into()),
        ("output_size", task.output.map(|blob| bits(blob.size)).into()),
        ("output_sha256", task.output.map(|blob| blob.sha256.0).into()),
        ("deferred", deferred.as_deref().into()),
        ("failures", i64::from(task.failures).into()),
        ("maker", task.maker.map(|worker| worker.0).into()),
        ("created_at", task.created_at.0.into()),
        ("ended_at", task.ended_at.map(|at| at.0).into()),
    ])
}

/// The query for the tasks of a job, oldest first.
pub(crate) fn tasks_query(job: JobId, limit: u32) -> Statement {
    let mut query = Statement::new("SELECT * FROM tasks WHERE job = $1").bind(job.0.as_slice());
    query.push_bind(" ORDER BY created_at, id LIMIT ", i64::from(limit));
    query
}

/// The query for the latest attempt at each of the same tasks, and the number of attempts at it.
pub(crate) fn latest_query(job: JobId, limit: u32) -> Statement {
    let mut query = Statement::new(format!(
        "SELECT * FROM (SELECT a.*, COUNT(*) OVER (PARTITION BY task) AS made, ROW_NUMBER() \
         OVER (PARTITION BY task ORDER BY started_at DESC, {ENDED_AT} DESC, lease) AS place \
         FROM attempts a WHERE job = $1 AND task IN \
         (SELECT id FROM tasks WHERE job = $1 ORDER BY created_at, id"
    ))
    .bind(job.0.as_slice());
    query.push_bind(" LIMIT ", i64::from(limit));
    query.push(")) n WHERE place = 1");
    query
}

/// The query for the numbers of a job's tasks.
pub(crate) fn counts_query(job: JobId) -> Statement {
    Statement::new(
        "SELECT COUNT(*) AS needed, CAST(COALESCE(SUM(CASE WHEN state = 'done' THEN 1 ELSE 0 END), 0) \
         AS BIGINT) AS done, COUNT(DISTINCT maker) AS workers FROM tasks \
         WHERE job = $1 AND state <> 'obsolete'",
    )
    .bind(job.0.as_slice())
}

pub(crate) fn read_counts(row: &dyn Columns) -> Result<TaskCounts, StoreError> {
    Ok(TaskCounts {
        done: rows::int(row, "done")?.cast_unsigned(),
        all: rows::int(row, "needed")?.cast_unsigned(),
        workers: rows::int(row, "workers")?.cast_unsigned(),
    })
}

/// Reads the latest attempt at a task, and the number of attempts.
pub(crate) fn read_latest(row: &dyn Columns) -> Result<(AttemptRecord, u32), StoreError> {
    Ok((rows::attempt(row)?, u32::try_from(rows::int(row, "made")?).map_err(corrupt)?))
}

/// Reads a division and its end.
pub(crate) fn read_division(
    row: &dyn Columns,
) -> Result<(ShardingRecord, Option<Millis>), StoreError> {
    Ok((read_sharding(row)?, rows::optional_time(row, "ended_at")?))
}

/// Reads a division.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the unreadable column.
pub fn read_sharding(row: &dyn Columns) -> Result<ShardingRecord, StoreError> {
    Ok(ShardingRecord {
        job: rows::id(row, "job")?,
        mode: mode_from(rows::int(row, "mode")?)?,
        engine: rows::text(row, "engine")?,
        max_elements: rows::unsigned(row, "max_elements")?,
        common: rows::optional_blob(row, "common_size", "common_sha256")?,
        public_values: rows::optional_blob(row, "public_values_size", "public_values_sha256")?,
        executed_at: rows::optional_time(row, "executed_at")?,
        restarts: u32::try_from(rows::int(row, "restarts")?).map_err(corrupt)?,
        created_at: rows::time(row, "created_at")?,
    })
}

/// Reads a task.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the unreadable column.
pub fn read_task(row: &dyn Columns) -> Result<TaskRecord, StoreError> {
    let key = rows::bytes(row, "key")?.try_into().map_err(|_| corrupt("key: not 32 bytes"))?;
    let shard = rows::optional_text(row, "shard")?.map(|name| shard_kind(&name)).transpose()?;
    let range = rows::optional_bytes(row, "range")?.map(|bytes| range(&bytes)).transpose()?;
    let deferred = match rows::optional_text(row, "deferred")? {
        None => None,
        Some(text) => {
            let mut named = named(&text)?.into_iter();
            let index = named.next().ok_or_else(|| corrupt("deferred: no index"))?;
            Some(DeferredEvents { index, events: named.collect() })
        }
    };
    let kind: TaskKind = rows::word(row, "kind")?;
    Ok(TaskRecord {
        id: rows::id(row, "id")?,
        job: rows::id(row, "job")?,
        key: Key(key),
        kind,
        shard,
        range,
        record: rows::optional_blob(row, "record_size", "record_sha256")?,
        named: named(&rows::text(row, "named")?)?,
        children: children(&rows::bytes(row, "children")?)?,
        complete: rows::int(row, "complete")? != 0,
        state: rows::word(row, "state")?,
        output: rows::optional_blob(row, "output_size", "output_sha256")?,
        deferred,
        failures: u32::try_from(rows::int(row, "failures")?).map_err(corrupt)?,
        maker: rows::optional_id(row, "maker")?,
        created_at: rows::time(row, "created_at")?,
        ended_at: rows::optional_time(row, "ended_at")?,
    })
}

fn shard_kind(name: &str) -> Result<ShardKind, StoreError> {
    let known = ShardKind::ALL.into_iter().find(|kind| kind.as_str() == name);
    known.ok_or_else(|| corrupt(format!("unknown kind of shard {name}")))
}

/// The twelve numbers of a range, in the order of its fields.
fn range_bytes(range: ShardRange) -> [u8; 96] {
    let pairs = [
        range.timestamp_range,
        range.initialized_address_range,
        range.finalized_address_range,
        range.initialized_page_index_range,
        range.finalized_page_index_range,
        range.deferred_proof_range,
    ];
    let mut bytes = [0; 96];
    let numbers = pairs.into_iter().flat_map(|(start, end)| [start, end]);
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn range(bytes: &[u8]) -> Result<ShardRange, StoreError> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_be_bytes(*number)).collect();
    match (&numbers[..], rest) {
        (&[a, b, c, d, e, f, g, h, i, j, k, l], []) => Ok(ShardRange {
            timestamp_range: (a, b),
            initialized_address_range: (c, d),
            finalized_address_range: (e, f),
            initialized_page_index_range: (g, h),
            finalized_page_index_range: (i, j),
            deferred_proof_range: (k, l),
        }),
        _ => Err(corrupt("range: not 96 bytes")),
    }
}

fn children(bytes: &[u8]) -> Result<Vec<TaskId>, StoreError> {
    match bytes.as_chunks::<16>() {
        (ids, []) => Ok(ids.iter().map(|id| TaskId(*id)).collect()),
        _ => Err(corrupt("children: not a multiple of 16 bytes")),
    }
}

fn named_text(named: Vec<Named<BlobInfo>>) -> String {
    serde_json::to_string(&named).expect("names, sizes and digests are valid JSON")
}

fn named(text: &str) -> Result<Vec<Named<BlobInfo>>, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(format!("named blobs: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_columns_are_errors() {
        assert!(range(&[0; 95]).is_err() && range(&[0; 104]).is_err() && range(&[]).is_err());
        assert!(children(&[0; 17]).is_err() && children(&[]).is_ok_and(|ids| ids.is_empty()));
        assert!(named("[{}]").is_err() && shard_kind("cores").is_err());
    }

    #[test]
    fn a_range_keeps_each_of_its_numbers() {
        let pair = |first| (first, u64::MAX - first);
        let full = ShardRange {
            timestamp_range: pair(1),
            initialized_address_range: pair(2),
            finalized_address_range: pair(3),
            initialized_page_index_range: pair(4),
            finalized_page_index_range: pair(5),
            deferred_proof_range: pair(6),
        };
        assert_eq!(range(&range_bytes(full)).expect("is valid"), full);
    }
}
