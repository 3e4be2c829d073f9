//! Usage of each client, computed from stored records.

use async_trait::async_trait;
use hierophant_model::clients::{ClientRecords, Owner};
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
    /// Cycles of executed jobs that a client's requests created after `since` and until `now`. A request that
    /// joined an existing job counts nothing; one job counts 10^13 at most.
    async fn cycles_executed(
        &self,
        client: &ClientRecords,
        since: Millis,
        now: Millis,
    ) -> Result<u64, StoreError>;

    /// Number of programs that a client has registered and no worker has refuted.
    async fn programs_registered(&self, client: &ClientRecords) -> Result<u64, StoreError>;

    /// Tickets without an upload, and their owners.
    async fn open_tickets(&self) -> Result<Vec<(ArtifactId, Owner)>, StoreError>;

    /// Bytes of all kept programs and inputs, by owner.
    async fn bytes_by_owner(&self) -> Result<Vec<(Owner, u64)>, StoreError>;
}

#[async_trait]
impl<D: Driver> UsageStore for SqlStore<D> {
    async fn cycles_executed(
        &self,
        client: &ClientRecords,
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
        push_client(&mut query, client, "r.client", "r.requester");
        query.push_bind(" AND r.created_at > ", since.0);
        query.push_bind(" AND r.created_at <= ", now.0);
        self.total("adding up a client's cycles", query).await
    }

    async fn programs_registered(&self, client: &ClientRecords) -> Result<u64, StoreError> {
        let mut query =
            Statement::new("SELECT COUNT(*) AS total FROM programs WHERE state <> 'refuted'");
        push_client(&mut query, client, "client", "owner");
        self.total("counting a client's programs", query).await
    }

    async fn open_tickets(&self) -> Result<Vec<(ArtifactId, Owner)>, StoreError> {
        let query = Statement::new(
            "SELECT id, owner, client FROM artifacts WHERE size IS NULL AND removed_at IS NULL",
        );
        let read = |row: &dyn Columns| Ok((rows::id(row, "id")?, owner(row)?));
        self.many("reading open tickets", query, read).await
    }

    async fn bytes_by_owner(&self) -> Result<Vec<(Owner, u64)>, StoreError> {
        let query = Statement::new(
            "SELECT owner, client, CAST(SUM(size) AS BIGINT) AS total FROM artifacts \
             WHERE removed_at IS NULL AND size IS NOT NULL AND kind <> 'proof' \
             GROUP BY owner, client",
        );
        let read = |row: &dyn Columns| Ok((owner(row)?, rows::int(row, "total")?.cast_unsigned()));
        self.many("adding up uploads", query, read).await
    }
}

fn owner(row: &dyn Columns) -> Result<Owner, StoreError> {
    let client = rows::optional_text(row, "client")?;
    Ok((rows::address(row, "owner")?, client.map(Into::into)))
}

/// Adds the condition that a row belongs to a client: it has the client's name, or no name and one of its addresses.
pub(crate) fn push_client(
    query: &mut Statement,
    client: &ClientRecords,
    name: &str,
    address: &str,
) {
    query.push(" AND (");
    if let Some(client) = &client.name {
        query.push_bind(&format!("{name} = "), &**client);
        query.push(" OR ");
    }
    let addresses = client.addresses.iter().map(|address| address.as_slice());
    query.push_list(&format!("({name} IS NULL AND {address} IN "), addresses);
    query.push("))");
}

impl<D: Driver> SqlStore<D> {
    async fn total(&self, action: &'static str, query: Statement) -> Result<u64, StoreError> {
        let found = self.many(action, query, |row| rows::int(row, "total")).await?;
        Ok(found.first().map_or(0, |total| total.cast_unsigned()))
    }
}
