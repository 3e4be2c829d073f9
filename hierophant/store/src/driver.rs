//! Database drivers: how SQL statements reach a database.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::StoreError;
use crate::recent::Recent;
use crate::rows::Columns;
use crate::statement::Statement;
use crate::table_write::Write;

/// Writes of one commit.
pub(crate) type Batch = Arc<[Write]>;

/// Conversion of a row into a value.
pub(crate) trait ReadRow<T>:
    Fn(&dyn Columns) -> Result<T, StoreError> + Send + Sync + 'static
{
}

impl<T, F> ReadRow<T> for F where
    F: Fn(&dyn Columns) -> Result<T, StoreError> + Send + Sync + 'static
{
}

/// A connection to a database.
#[async_trait]
pub(crate) trait Driver: Debug + Send + Sync + 'static {
    /// Runs a statement that only reads, and converts each row; `action` describes the call in an error.
    /// Rows are converted one by one because a driver's row takes many times the memory of its content.
    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError>;

    /// Executes all writes of all batches in one durable transaction.
    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError>;

    /// Checks that the database answers reads.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Waits until the database is found to be damaged.
    async fn damaged(&self) -> StoreError {
        std::future::pending().await
    }

    /// Waits for running writes and closes the database.
    async fn close(&self);
}

/// A store on top of a driver.
#[derive(Debug)]
pub(crate) struct SqlStore<D> {
    pub(crate) driver: D,
    pub(crate) recent: Recent,
}

impl<D: Driver> SqlStore<D> {
    pub(crate) fn new(driver: D) -> Self {
        Self { driver, recent: Recent::default() }
    }

    /// All rows of a query.
    pub(crate) async fn many<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.driver.read(action, statement, read).await
    }

    /// All rows of a list whose cost its caller chooses.
    pub(crate) async fn list<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.driver.read(action, statement.list(), read).await
    }

    /// The row that an index lookup finds.
    pub(crate) async fn one<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.many(action, statement.point_read(), read).await?.into_iter().next())
    }
}
