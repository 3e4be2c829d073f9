//! What the store knows about a submission, in one look-up.

use hierophant_model::records::{Accepted, JobRecord, JobState, Millis};
use network_lib::ids::{JobId, Sha256Digest};

use crate::StoreError;
use crate::rows::{self, Columns};
use crate::statement::Statement;

/// What the store knows about a submission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submission {
    /// The request that an earlier try of the same call created.
    pub earlier: Option<Accepted>,
    /// The latest finished job with this content whose proof is kept.
    pub proved: Option<JobRecord>,
    /// The latest job with this content that failed by its workers' fault.
    pub set_aside: Option<JobRecord>,
}

/// The statement; one or two rows answer it. Failed jobs and ended ones have indexes of their own, which would find all of
/// them: only the index by content is to be used. The artifact of a proof is looked up, and not joined: a join could walk
/// all artifacts.
pub(crate) fn query(call: Sha256Digest, key: Sha256Digest, since: Millis) -> Statement {
    Statement::new(
        "SELECT k.request, k.request_job, j.* FROM (SELECT \
         (SELECT id FROM requests WHERE idempotency_key = $1) AS request, \
         (SELECT job FROM requests WHERE idempotency_key = $1) AS request_job, \
         (SELECT p.id FROM jobs p WHERE p.key = $2 AND p.state = 'proved' \
          AND (SELECT a.expired_at IS NULL FROM artifacts a WHERE a.id = p.proof) \
          ORDER BY p.finished_at DESC LIMIT 1) AS proved, \
         (SELECT f.id FROM jobs f \
          WHERE f.key = $2 AND COALESCE(f.state, '') = 'failed' AND f.failure_class = 'worker' \
          AND COALESCE(f.finished_at, -1) >= $3 ORDER BY f.finished_at DESC LIMIT 1) AS set_aside) k \
         LEFT JOIN jobs j ON j.id = k.proved OR j.id = k.set_aside",
    )
    .bind(call.0.as_slice())
    .bind(key.0.as_slice())
    .bind(since.0)
    .point_read()
}

/// A row: the earlier request, and one of the jobs.
pub(crate) fn row(row: &dyn Columns) -> Result<(Option<Accepted>, Option<JobRecord>), StoreError> {
    let earlier = match rows::optional_id(row, "request")? {
        Some(request) => Some(Accepted { request, job: rows::id(row, "request_job")? }),
        None => None,
    };
    let job = match rows::optional_id::<JobId>(row, "id")? {
        Some(_) => Some(rows::job(row)?),
        None => None,
    };
    Ok((earlier, job))
}

/// The answer in all rows.
pub(crate) fn collected(rows: Vec<(Option<Accepted>, Option<JobRecord>)>) -> Submission {
    let mut found = Submission::default();
    for (earlier, job) in rows {
        found.earlier = earlier;
        match job {
            Some(job) if job.state == JobState::Proved => found.proved = Some(job),
            Some(job) => found.set_aside = Some(job),
            None => {}
        }
    }
    found
}
