//! Pending webhook notices.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hierophant_model::clients::Owner;
use hierophant_model::records::{Millis, NoticeRecord};
use network_lib::ids::Sha256Digest;

use crate::driver::{Driver, SqlStore};
use crate::statement::Statement;
use crate::{StoreError, rows};

/// Notices kept until they are delivered.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Notices of a receiver that are due, the longest waiting first.
    async fn notices(
        &self,
        receiver: Sha256Digest,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<NoticeRecord>, StoreError>;

    /// Notices of a receiver that were tried, of requests that ended before a time.
    async fn old_notices(
        &self,
        receiver: Sha256Digest,
        ended_before: Millis,
        limit: u32,
    ) -> Result<Vec<NoticeRecord>, StoreError>;

    /// Number of pending notices for each receiver, about the requests of each owner. The address is zero if the
    /// request is no longer known.
    async fn notice_counts(&self) -> Result<BTreeMap<(Sha256Digest, Owner), u64>, StoreError>;
}

#[async_trait]
impl<D: Driver> Notices for SqlStore<D> {
    async fn notices(
        &self,
        receiver: Sha256Digest,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<NoticeRecord>, StoreError> {
        let mut query =
            Statement::new("SELECT * FROM notices WHERE receiver = $1 AND next_at <= $2")
                .bind(receiver.0.as_slice())
                .bind(now.0);
        query.push_bind(" ORDER BY next_at, id LIMIT ", i64::from(limit));
        self.many("reading notices", query, rows::notice).await
    }

    async fn old_notices(
        &self,
        receiver: Sha256Digest,
        ended_before: Millis,
        limit: u32,
    ) -> Result<Vec<NoticeRecord>, StoreError> {
        let mut query = Statement::new(
            "SELECT * FROM notices WHERE receiver = $1 AND ended_at < $2 AND attempts > 0",
        )
        .bind(receiver.0.as_slice())
        .bind(ended_before.0);
        query.push_bind(" LIMIT ", i64::from(limit));
        self.many("reading old notices", query, rows::notice).await
    }

    async fn notice_counts(&self) -> Result<BTreeMap<(Sha256Digest, Owner), u64>, StoreError> {
        let query = Statement::new(
            "SELECT n.receiver, r.requester, r.client, COUNT(*) AS notices FROM notices n \
             LEFT JOIN requests r ON r.id = n.request GROUP BY n.receiver, r.requester, r.client",
        );
        let counts = self.many("counting notices", query, rows::notice_count).await?;
        Ok(counts.into_iter().collect())
    }
}
