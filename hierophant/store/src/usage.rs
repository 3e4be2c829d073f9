//! Usage of each client, computed from stored records.

use alloy_primitives::Address;
use async_trait::async_trait;
use hierophant_model::records::Millis;
use network_lib::ids::ArtifactId;

use crate::StoreError;
use crate::driver::{Driver, SqlStore};
use crate::rows::{self, Columns};
use crate::statement::Statement;

/// Maximum cycles counted per job, so that a sum of numbers reported by workers fits into 63 bits.
const MAX_CYCLES_PER_JOB: i64 = 10_000_000_000_000;

/// Usage that quotas limit.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// Cycles of executed jobs that an address's requests created after `since` and until `now`. A request that
    /// joined an existing job counts nothing; one job counts 10^13 at most.
    async fn cycles_executed(
        &self,
        requester: Address,
        since: Millis,
        now: Millis,
    ) -> Result<u64, StoreError>;

    /// Number of programs that an address has registered.
    async fn programs_registered(&self, owner: Address) -> Result<u64, StoreError>;

    /// Tickets without an upload, and their owners.
    async fn open_tickets(&self) -> Result<Vec<(ArtifactId, Address)>, StoreError>;

    /// Bytes of all kept programs and inputs, by owner.
    async fn bytes_by_owner(&self) -> Result<Vec<(Address, u64)>, StoreError>;
}

#[async_trait]
impl<D: Driver> UsageStore for SqlStore<D> {
    async fn cycles_executed(
        &self,
        requester: Address,
        since: Millis,
        now: Millis,
    ) -> Result<u64, StoreError> {
        // Unsigned numbers are stored with their bits unchanged: a negative number is above the cap.
        let mut query = Statement::new(
            "SELECT CAST(COALESCE(SUM(CASE WHEN j.cycles < 0 OR j.cycles > $1 THEN $1 \
             ELSE j.cycles END), 0) AS BIGINT) AS total FROM requests r JOIN jobs j ON j.id = r.job \
             WHERE j.cycles IS NOT NULL AND j.created_at >= r.created_at",
        )
        .bind(MAX_CYCLES_PER_JOB);
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
