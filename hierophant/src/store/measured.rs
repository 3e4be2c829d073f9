//! Times what the database is asked.

use async_trait::async_trait;
use tokio::time::Instant;

use super::StoreError;
use super::queries::{Batch, Driver};
use super::rows::Columns;
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
}

#[async_trait]
impl<D: Driver> Driver for Measured<D> {
    async fn read<T, F>(
        &self,
        action: &'static str,
        statement: Statement,
        read: F,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: Fn(&dyn Columns) -> Result<T, StoreError> + Send + 'static,
    {
        let mut call = self.call("read");
        let answer = self.driver.read(action, statement, read).await;
        call.note(answer.is_ok());
        answer
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let mut call = self.call("write");
        let answer = self.driver.write(batches).await;
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
