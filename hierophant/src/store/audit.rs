//! What operators have done.

use async_trait::async_trait;
use hierophant_model::records::{AuditRecord, Millis};
use network_lib::ids::AuditId;

use super::browse::push_page;
use super::queries::{Driver, SqlStore};
use super::statement::{Statement, Upsert};
use super::{StoreError, rows};

// A record never changes; the same one may be written twice when an answer was lost.
static AUDIT: Upsert = Upsert::new("audit", "id", |_| true);

/// The list of what operators have done.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// The newest first, at most so many; the next page begins `before` the last one of this page.
    async fn audit(
        &self,
        before: Option<(Millis, AuditId)>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// When this was done, if it is on the list.
    async fn audited_at(&self, id: AuditId) -> Result<Option<Millis>, StoreError>;
}

#[async_trait]
impl<D: Driver> AuditLog for SqlStore<D> {
    async fn audit(
        &self,
        before: Option<(Millis, AuditId)>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let mut query = Statement::new("SELECT * FROM audit WHERE 1 = 1");
        push_page(&mut query, "at", "id", before.map(|(at, id)| (at, id.0)));
        query.push_bind(" LIMIT ", i64::from(limit));
        self.many("reading the audit log", query, rows::audited).await
    }

    async fn audited_at(&self, id: AuditId) -> Result<Option<Millis>, StoreError> {
        let query =
            Statement::new("SELECT at FROM audit WHERE id = $1").bind(id.as_bytes().as_slice());
        let found = self.many("reading the audit log", query, |row| rows::time(row, "at")).await?;
        Ok(found.into_iter().next())
    }
}

/// The statement that writes a record.
pub(super) fn write(record: &AuditRecord) -> Statement {
    let token = record.by.as_ref().map(|(token, _)| token.to_string());
    let columns = vec![
        ("id", record.id.as_bytes().as_slice().into()),
        ("at", record.at.0.into()),
        ("token", token.as_deref().into()),
        ("name", record.by.as_ref().map(|(_, name)| name.as_str()).into()),
        ("peer", record.peer.as_str().into()),
        ("forwarded", record.forwarded.as_deref().into()),
        ("program", record.program.as_str().into()),
        ("action", record.action.as_str().into()),
        ("body", record.body.as_str().into()),
        ("code", i64::from(record.code).into()),
    ];
    AUDIT.row(columns)
}

/// The statement that removes what was done before a time.
pub(super) fn forget(before: Millis) -> Statement {
    Statement::new("DELETE FROM audit WHERE at < $1").bind(before.0)
}
