//! How much each client has taken, counted in what is stored.

use alloy_primitives::Address;
use async_trait::async_trait;
use hierophant_model::records::Millis;
use network_lib::ids::ArtifactId;

use super::StoreError;
use super::queries::{Driver, SqlStore};
use super::rows::{self, Columns};
use super::statement::Statement;

/// Cycles of one job that count, so that no sum of what Contemplants have said leaves 63 bits.
const MOST_CYCLES: i64 = 10_000_000_000_000;

/// What quotas are held against.
#[async_trait]
pub trait Taken: Send + Sync {
    /// Cycles of the jobs that this address's requests have made after `since`, until `now`, as far as they were
    /// executed. A request that joined a job made none; of one job 10^13 count at most.
    async fn cycles_executed(
        &self,
        requester: Address,
        since: Millis,
        now: Millis,
    ) -> Result<u64, StoreError>;

    /// How many programs this address has registered.
    async fn programs_registered(&self, owner: Address) -> Result<u64, StoreError>;

    /// The tickets to which nothing was uploaded yet, and whose they are.
    async fn open_tickets(&self) -> Result<Vec<(ArtifactId, Address)>, StoreError>;

    /// Bytes of all programs and inputs that are kept, by who uploaded them.
    async fn bytes_by_owner(&self) -> Result<Vec<(Address, u64)>, StoreError>;
}

#[async_trait]
impl<D: Driver> Taken for SqlStore<D> {
    async fn cycles_executed(
        &self,
        requester: Address,
        since: Millis,
        now: Millis,
    ) -> Result<u64, StoreError> {
        // Unsigned numbers are stored with their bits unchanged: what is negative is above the cap.
        let mut query = Statement::new(
            "SELECT CAST(COALESCE(SUM(CASE WHEN j.cycles < 0 OR j.cycles > $1 THEN $1 \
             ELSE j.cycles END), 0) AS BIGINT) AS total FROM requests r JOIN jobs j ON j.id = r.job \
             WHERE j.cycles IS NOT NULL AND j.created_at >= r.created_at",
        )
        .bind(MOST_CYCLES);
        query.push_bind(" AND r.requester = ", requester.as_slice());
        query.push_bind(" AND r.created_at > ", since.0);
        query.push_bind(" AND r.created_at <= ", now.0);
        self.total("adding up an address's cycles", query).await
    }

    async fn programs_registered(&self, owner: Address) -> Result<u64, StoreError> {
        let query = Statement::new("SELECT COUNT(*) AS total FROM programs WHERE owner = $1")
            .bind(owner.as_slice());
        self.total("counting an address's programs", query).await
    }

    async fn open_tickets(&self) -> Result<Vec<(ArtifactId, Address)>, StoreError> {
        let query = Statement::new(
            "SELECT id, owner FROM artifacts WHERE size IS NULL AND removed_at IS NULL",
        );
        let read = |row: &dyn Columns| Ok((rows::id(row, "id")?, rows::address(row, "owner")?));
        self.many("reading open tickets", query, read).await
    }

    async fn bytes_by_owner(&self) -> Result<Vec<(Address, u64)>, StoreError> {
        let query = Statement::new(
            "SELECT owner, CAST(SUM(size) AS BIGINT) AS total FROM artifacts \
             WHERE removed_at IS NULL AND size IS NOT NULL AND kind <> 'proof' GROUP BY owner",
        );
        let read = |row: &dyn Columns| {
            Ok((rows::address(row, "owner")?, rows::int(row, "total")?.cast_unsigned()))
        };
        self.many("adding up uploads", query, read).await
    }
}

impl<D: Driver> SqlStore<D> {
    async fn total(&self, action: &'static str, query: Statement) -> Result<u64, StoreError> {
        let found = self.many(action, query, |row| rows::int(row, "total")).await?;
        Ok(found.first().map_or(0, |total| total.cast_unsigned()))
    }
}
