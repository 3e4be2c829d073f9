//! Times what the database is asked.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::StoreError;
use super::queries::Driver;
use super::statement::Statement;
use crate::metrics::Metrics;

/// A driver whose calls are counted in [`Metrics`].
#[derive(Debug)]
pub(super) struct Measured<D> {
    pub(super) driver: D,
    pub(super) metrics: Metrics,
}

/// A call in progress; it is counted when it is dropped.
struct Call {
    operation: &'static str,
    started: Instant,
    succeeded: bool,
    metrics: Metrics,
}

impl Call {
    /// A part of it went well, or not.
    fn note(&mut self, succeeded: bool) {
        self.succeeded &= succeeded;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.stored(self.operation, self.succeeded, self.started.elapsed());
    }
}

impl<D> Measured<D> {
    fn call(&self, operation: &'static str) -> Call {
        let (started, metrics) = (Instant::now(), self.metrics.clone());
        Call { operation, started, succeeded: true, metrics }
    }

    /// The same rows; the call ends when they are let go of.
    fn read<'a, R: 'a>(
        &self,
        rows: BoxStream<'a, Result<R, sqlx::Error>>,
    ) -> BoxStream<'a, Result<R, sqlx::Error>> {
        let mut call = self.call("read");
        rows.inspect(move |row| call.note(row.is_ok())).boxed()
    }
}

#[async_trait]
impl<D: Driver> Driver for Measured<D> {
    type Row = D::Row;
    type WholeRow = D::WholeRow;

    fn rows(&self, statement: Statement) -> BoxStream<'_, Result<Self::Row, sqlx::Error>> {
        self.read(self.driver.rows(statement))
    }

    fn whole_rows(
        &self,
        table: &'static str,
        from: String,
    ) -> BoxStream<'_, Result<Self::WholeRow, sqlx::Error>> {
        self.read(self.driver.whole_rows(table, from))
    }

    async fn write(&self, statements: Vec<Statement>) -> Result<(), StoreError> {
        let mut call = self.call("write");
        let answer = self.driver.write(statements).await;
        call.note(answer.is_ok());
        answer
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.driver.ping().await
    }

    async fn close(&self) {
        self.driver.close().await;
    }
}
