//! Retention: the SQL that finds artifacts to look at, and what they are used for.
//!
//! A sweep looks only at artifacts whose time may have come. `due_rule` and `due_since` are never later than the end of
//! an artifact's use: what ends a use sooner than expected, like a delivery, brings them forward. What prolongs a use
//! leaves them alone; the look that comes too early then finds the new time. Only a program, which is not needed from the
//! moment in which its last use ends, may be looked at later, by the shortest of the retention times at most.

use hierophant_model::records::{ArtifactRecord, ArtifactUse, DueRule, Millis};
use network_lib::ids::ArtifactId;

use crate::StoreError;
use crate::rows::{self, Columns};
use crate::statement::Statement;

/// An artifact that is due, and its place in the order of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueArtifact {
    /// The artifact.
    pub artifact: ArtifactRecord,
    /// What it is used for.
    pub used: ArtifactUse,
    /// Time since which its rule applies.
    pub since: Millis,
}

/// What artifact `a` is used for:
///
/// - A program is needed while it is registered or an unfinished job runs it.
/// - An input is needed by unfinished jobs, and for a while after they end.
/// - The proof of a proved job is needed by each request that it answers: for a while after its delivery and
///   after the request's deadline; much longer if it was not fetched since that request was fulfilled.
/// - An uploaded proof that was not accepted is needed like an input.
///
/// `+ 0` keeps Postgres from searching all ends of jobs, the latest first, for the latest of the jobs that used an input.
/// Without statistics it takes that for the shortest way. For the same reason the job of a proof, of which there is one, is
/// found before its requests, and not by a join.
const USE: &str = "\
CAST(CASE WHEN a.kind = 'program'
  AND EXISTS (SELECT 1 FROM programs p WHERE p.artifact = a.id) THEN 1 ELSE 0 END AS BIGINT) AS registered,
CAST(CASE
  WHEN a.kind = 'program' AND EXISTS
    (SELECT 1 FROM jobs j WHERE j.program = a.id AND j.finished_at IS NULL) THEN 1
  WHEN a.kind = 'proof' AND EXISTS (SELECT 1 FROM attempts t JOIN jobs j ON j.id = t.job
    WHERE t.proof = a.id AND j.finished_at IS NULL) THEN 1
  WHEN a.kind NOT IN ('program', 'proof') AND EXISTS
    (SELECT 1 FROM jobs j WHERE j.stdin = a.id AND j.finished_at IS NULL) THEN 1
  ELSE 0 END AS BIGINT) AS busy,
CASE
  WHEN a.kind = 'program' THEN NULL
  WHEN a.kind = 'proof' THEN (SELECT MAX(j.finished_at) FROM attempts t JOIN jobs j ON j.id = t.job
    WHERE t.proof = a.id)
  ELSE (SELECT MAX(j.finished_at + 0) FROM jobs j WHERE j.stdin = a.id) END AS ended_at,
CAST(CASE WHEN a.kind = 'proof'
  AND EXISTS (SELECT 1 FROM jobs j WHERE j.proof = a.id) THEN 1 ELSE 0 END AS BIGINT) AS accepted,
CASE WHEN a.kind = 'proof' THEN (SELECT MAX(r.deadline) FROM requests r
  WHERE r.job = (SELECT j.id FROM jobs j WHERE j.proof = a.id LIMIT 1) AND r.state = 'fulfilled' AND a.delivered_at >= r.fulfilled_at) END
  AS delivered_deadline,
CASE WHEN a.kind = 'proof' THEN (SELECT MAX(r.deadline) FROM requests r
  WHERE r.job = (SELECT j.id FROM jobs j WHERE j.proof = a.id LIMIT 1) AND r.state = 'fulfilled' AND (a.delivered_at IS NULL
    OR r.fulfilled_at IS NULL OR a.delivered_at < r.fulfilled_at)) END AS undelivered_deadline";

/// The query for kept artifacts to which a rule applies since before a time, the longest first.
pub(crate) fn due(
    rule: DueRule,
    before: Millis,
    after: Option<(Millis, ArtifactId)>,
    limit: u32,
) -> Statement {
    let mut query = Statement::new(format!(
        "SELECT a.*, {USE} FROM (SELECT * FROM artifacts \
         WHERE removed_at IS NULL AND due_rule = $1 AND due_since < $2"
    ))
    .bind(rule.as_str())
    .bind(before.0);
    if let Some((since, id)) = after {
        query.push_bind(" AND (due_since, id) > (", since.0);
        query.push_bind(", ", id.0.as_slice());
        query.push(")");
    }
    query.push_bind(" ORDER BY due_since, id LIMIT ", i64::from(limit));
    query.push(") a ORDER BY a.due_since, a.id");
    query
}

pub(crate) fn due_artifact(row: &dyn Columns) -> Result<DueArtifact, StoreError> {
    let is = |name| rows::int(row, name).map(|number| number != 0);
    Ok(DueArtifact {
        artifact: rows::artifact(row)?,
        used: ArtifactUse {
            registered: is("registered")?,
            busy: is("busy")?,
            ended_at: rows::optional_int(row, "ended_at")?.map(Millis),
            accepted: is("accepted")?,
            delivered_deadline: rows::optional_int(row, "delivered_deadline")?,
            undelivered_deadline: rows::optional_int(row, "undelivered_deadline")?,
        },
        since: rows::time(row, "due_since")?,
    })
}
