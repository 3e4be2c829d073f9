//! Retention: the SQL that selects artifacts to expire and to remove.

use hierophant_model::records::Cutoffs;

use crate::statement::Statement;

/// A step of retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionStep {
    /// Delete tickets without an upload.
    Forget,
    /// Mark bytes that nothing needs as expired.
    Expire,
    /// Clear the expiry of bytes that are needed again.
    Keep,
    /// Remove bytes that expired a while ago and are still not needed.
    Remove,
}

/// SQL condition: nothing needs the bytes of artifact `a`. Parameters: `$1` unused before, `$2` ended before,
/// `$3` delivered before (milliseconds) and `$4` (seconds), `$5` undelivered before (seconds).
///
/// - A program is needed while it is registered or an unfinished job runs it.
/// - An input is needed by unfinished jobs, and for a while after they end.
/// - The proof of a proved job is needed by each request that it answers: for a while after its delivery and
///   after the request's deadline; much longer if it was not fetched since that request was fulfilled.
/// - An uploaded proof that was not accepted is needed like an input.
const UNNEEDED: &str = "(a.size IS NOT NULL AND CASE a.kind
WHEN 'program' THEN
  a.created_at < $1
  AND NOT EXISTS (SELECT 1 FROM programs p WHERE p.artifact = a.id)
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.program = a.id AND j.finished_at IS NULL)
WHEN 'proof' THEN
  NOT EXISTS (SELECT 1 FROM attempts t JOIN jobs j ON j.id = t.job
    WHERE t.proof = a.id AND (j.finished_at IS NULL OR j.finished_at >= $2))
  AND CASE WHEN EXISTS (SELECT 1 FROM jobs j WHERE j.proof = a.id) THEN
    NOT EXISTS (SELECT 1 FROM jobs j JOIN requests r ON r.job = j.id
      WHERE j.proof = a.id AND r.state = 'fulfilled'
      AND CASE WHEN a.delivered_at >= r.fulfilled_at
        THEN a.delivered_at >= $3 OR r.deadline >= $4
        ELSE r.deadline >= $5 END)
  ELSE a.created_at < $1 END
ELSE
  NOT EXISTS (SELECT 1 FROM jobs j
    WHERE j.stdin = a.id AND (j.finished_at IS NULL OR j.finished_at >= $2))
  AND (a.created_at < $1 OR EXISTS (SELECT 1 FROM jobs j WHERE j.stdin = a.id))
END)";

/// The query for artifacts that a step applies to, oldest first.
pub(crate) fn candidates(step: RetentionStep, cutoffs: &Cutoffs, limit: u32) -> Statement {
    let seconds = |millis: i64| millis.div_euclid(1000);
    let mut query = Statement::new("SELECT a.* FROM artifacts a WHERE a.removed_at IS NULL AND ")
        .bind(cutoffs.unused_before.0);
    if step == RetentionStep::Forget {
        query.push("a.size IS NULL AND a.created_at < $1");
    } else {
        query = query
            .bind(cutoffs.ended_before.0)
            .bind(cutoffs.delivered_before.0)
            .bind(seconds(cutoffs.delivered_before.0))
            .bind(seconds(cutoffs.undelivered_before.0));
        match step {
            RetentionStep::Expire | RetentionStep::Forget => {
                query.push("a.expired_at IS NULL AND ");
            }
            RetentionStep::Keep => {
                query.push("a.expired_at IS NOT NULL AND NOT ");
            }
            RetentionStep::Remove => {
                query.push_bind("a.expired_at < ", cutoffs.expired_before.0);
                query.push(" AND ");
            }
        }
        query.push(UNNEEDED);
    }
    query.push_bind(" ORDER BY a.created_at LIMIT ", i64::from(limit));
    query
}
