//! The audit log: calls that operators made.

use async_trait::async_trait;
use hierophant_model::records::{AuditRecord, Millis};
use network_lib::ids::AuditId;

use crate::driver::{Driver, SqlStore};
use crate::statement::{Statement, push_page};
use crate::{StoreError, rows};

/// The audit log of operators' calls.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// A page of the log, newest first; `before` is the last record of the previous page.
    async fn audit(
        &self,
        before: Option<(Millis, AuditId)>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// Time of a record, if it exists.
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
        self.list("reading the audit log", query, rows::audited).await
    }

    async fn audited_at(&self, id: AuditId) -> Result<Option<Millis>, StoreError> {
        let query =
            Statement::new("SELECT at FROM audit WHERE id = $1").bind(id.as_bytes().as_slice());
        self.one("reading the audit log", query, |row| rows::time(row, "at")).await
    }
}
