//! Times what the database is asked.

use async_trait::async_trait;
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

#[async_trait]
impl<D: Driver> Driver for Measured<D> {
    type Row = D::Row;

    async fn read(&self, statement: Statement) -> Result<Vec<Self::Row>, sqlx::Error> {
        let started = Instant::now();
        let answer = self.driver.read(statement).await;
        self.metrics.stored("read", answer.is_ok(), started.elapsed());
        answer
    }

    async fn write(&self, statements: Vec<Statement>) -> Result<(), StoreError> {
        let started = Instant::now();
        let answer = self.driver.write(statements).await;
        self.metrics.stored("write", answer.is_ok(), started.elapsed());
        answer
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.driver.ping().await
    }

    async fn close(&self) {
        self.driver.close().await;
    }
}
