//! An executor behind the checks of its machine: it offers nothing while the machine cannot prove.

use std::sync::Arc;

use async_trait::async_trait;
use network_lib::handshake::{Capabilities, GpuLoad};
use network_lib::ids::LeaseId;
use network_lib::job::Failure;
use network_lib::metrics::Counter;
use network_lib::task;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::tasks::TaskExecutor;
use super::{EventSink, Executor, ProveJob, Proved};

/// Another executor, whose modes are withdrawn while there is an obstacle.
pub struct Guarded {
    executor: Arc<dyn Executor>,
    started: CancellationToken,
    capabilities: watch::Receiver<Capabilities>,
}

impl Guarded {
    /// `executor` while `obstacle` is none; else the obstacle is its reason to offer nothing. `started` is cancelled when
    /// it is started. Must be called on a tokio runtime.
    #[must_use]
    pub fn new(
        executor: Arc<dyn Executor>,
        started: CancellationToken,
        obstacle: watch::Receiver<Option<String>>,
    ) -> Self {
        let capabilities = restrict(executor.capabilities(), obstacle);
        Self { executor, started, capabilities }
    }
}

/// `offered` while `obstacle` is none; else no kind of proof, with the obstacle as the reason. Must be called on a tokio
/// runtime.
pub(crate) fn restrict(
    offered: watch::Receiver<Capabilities>,
    obstacle: watch::Receiver<Option<String>>,
) -> watch::Receiver<Capabilities> {
    let first = restricted(&offered.borrow(), obstacle.borrow().as_deref());
    let (sender, capabilities) = watch::channel(first);
    task::spawn("guarded offer", guard(offered, obstacle, sender));
    capabilities
}

/// Keeps the capabilities up to date. It ends with the executor, so that the end of its channel is seen.
async fn guard(
    mut offered: watch::Receiver<Capabilities>,
    mut obstacle: watch::Receiver<Option<String>>,
    sender: watch::Sender<Capabilities>,
) {
    loop {
        let now = {
            let reason = obstacle.borrow_and_update();
            restricted(&offered.borrow_and_update(), reason.as_deref())
        };
        sender.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        let changed = tokio::select! {
            changed = offered.changed() => changed,
            changed = obstacle.changed() => changed,
            () = sender.closed() => return,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The capabilities that are left.
fn restricted(offered: &Capabilities, obstacle: Option<&str>) -> Capabilities {
    let mut left = offered.clone();
    if let Some(reason) = obstacle {
        left.modes.clear();
        left.unavailable_reason = Some(reason.to_owned());
    }
    left
}

#[async_trait]
impl Executor for Guarded {
    fn capabilities(&self) -> watch::Receiver<Capabilities> {
        self.capabilities.clone()
    }

    fn jobs_at_once(&self) -> usize {
        self.executor.jobs_at_once()
    }

    fn tasks(&self) -> Option<Arc<dyn TaskExecutor>> {
        self.executor.tasks()
    }

    fn server_starts(&self) -> Counter {
        self.executor.server_starts()
    }

    fn gpu_loads(&self) -> watch::Receiver<Vec<GpuLoad>> {
        self.executor.gpu_loads()
    }

    fn start(&self) {
        self.executor.start();
        self.started.cancel();
    }

    async fn stop(&self) {
        self.executor.stop().await;
    }

    fn forget(&self, lease_id: LeaseId) {
        self.executor.forget(lease_id);
    }

    async fn prove(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure> {
        self.executor.prove(job, events, cancel).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use network_lib::handshake::Backend;
    use network_lib::job::{FailureClass, ProofMode};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// An executor that only offers.
    struct Offering(watch::Receiver<Capabilities>);

    #[async_trait]
    impl Executor for Offering {
        fn capabilities(&self) -> watch::Receiver<Capabilities> {
            self.0.clone()
        }

        async fn prove(
            &self,
            _: ProveJob,
            _: EventSink,
            _: CancellationToken,
        ) -> Result<Proved, Failure> {
            Err(Failure::new(FailureClass::Worker, "it only offers"))
        }
    }

    fn capabilities(modes: &[ProofMode]) -> Capabilities {
        Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: Vec::new(),
            modes: modes.to_vec(),
            backend: Backend::Cpu,
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: Vec::new(),
            unavailable_reason: None,
            sharding: None,
        }
    }

    #[tokio::test]
    async fn nothing_is_offered_while_there_is_an_obstacle() {
        let (offer, offered) = watch::channel(capabilities(&[]));
        let (found, obstacle) = watch::channel(Some("/tmp is full".to_owned()));
        let started = CancellationToken::new();
        let guarded = Guarded::new(Arc::new(Offering(offered)), started.clone(), obstacle);
        guarded.start();
        assert!(started.is_cancelled());
        let mut seen = guarded.capabilities();
        assert_eq!(seen.borrow().unavailable_reason.as_deref(), Some("/tmp is full"));
        // The executor becomes ready: the obstacle stays.
        offer.send_modify(|now| now.modes = vec![ProofMode::Core]);
        found.send_replace(Some("/dev/shm is full".to_owned()));
        let full =
            |now: &Capabilities| now.unavailable_reason.as_deref() == Some("/dev/shm is full");
        let now = timeout(PATIENCE, seen.wait_for(full)).await.unwrap().unwrap().clone();
        assert!(now.modes.is_empty());
        found.send_replace(None);
        let ready = |now: &Capabilities| *now == capabilities(&[ProofMode::Core]);
        timeout(PATIENCE, seen.wait_for(ready)).await.unwrap().unwrap();
        // The end of the executor is not hidden.
        drop(offer);
        timeout(PATIENCE, async { while seen.changed().await.is_ok() {} }).await.unwrap();
    }
}
