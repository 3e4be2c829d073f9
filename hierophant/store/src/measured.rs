//! Measurement of database calls.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::StoreError;
use crate::driver::{Batch, Driver, ReadRow};
use crate::statement::Statement;

/// Observer of database calls, for metrics.
pub trait CallObserver: Debug + Send + Sync + 'static {
    /// A call has ended; `operation` is `read` or `write`. A cancelled call counts as a success.
    fn call_ended(&self, operation: &'static str, succeeded: bool, took: Duration);
}

/// Observes nothing.
impl CallObserver for () {
    fn call_ended(&self, _: &'static str, _: bool, _: Duration) {}
}

/// A driver whose calls are measured.
#[derive(Debug)]
pub(crate) struct Measured<D, O> {
    pub(crate) driver: D,
    pub(crate) observer: O,
}

/// A call in progress, reported when dropped.
struct Call<'a, O: CallObserver> {
    operation: &'static str,
    started: Instant,
    succeeded: bool,
    observer: &'a O,
}

impl<O: CallObserver> Drop for Call<'_, O> {
    fn drop(&mut self) {
        self.observer.call_ended(self.operation, self.succeeded, self.started.elapsed());
    }
}

impl<D, O: CallObserver> Measured<D, O> {
    fn call(&self, operation: &'static str) -> Call<'_, O> {
        Call { operation, started: Instant::now(), succeeded: true, observer: &self.observer }
    }
}

#[async_trait]
impl<D: Driver, O: CallObserver> Driver for Measured<D, O> {
    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut call = self.call("read");
        let answer = self.driver.read(action, statement, read).await;
        // A list that is refused says nothing about the database.
        call.succeeded = answer.as_ref().err().is_none_or(StoreError::is_refused_list);
        answer
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let mut call = self.call("write");
        let answer = self.driver.write(batches).await;
        call.succeeded = answer.is_ok();
        answer
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.driver.ping().await
    }

    async fn damaged(&self) -> StoreError {
        self.driver.damaged().await
    }

    async fn close(&self) {
        self.driver.close().await;
    }
}
