//! A scrape: gauges are set from a snapshot, and all metrics are encoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use hierophant_model::records::{Millis, ReceiverState, Usage};
use hierophant_scheduler::proofs::Overview;
use hierophant_scheduler::registry::KnownWorker;
use network_lib::job::ProofMode;
use network_lib::metrics;
use network_lib::shard::TaskKind;

use super::labels::{KindLabels, ModeLabels, ReceiverLabels, TaskLabels, WorkerLabels};
use super::{Metrics, seconds, whole};

/// Snapshot of the values that gauges show.
#[derive(Debug)]
pub struct GaugeSnapshot {
    /// Time of the snapshot.
    pub now: Millis,
    /// What the actors know, if they have answered.
    pub actors: Option<ActorSnapshot>,
    /// Usage of the disk.
    pub storage: Usage,
    /// Size of all stored bytes of tasks.
    pub tasks: u64,
    /// Receivers of webhooks.
    pub webhooks: Vec<ReceiverState>,
}

/// What the actors know.
#[derive(Debug)]
pub struct ActorSnapshot {
    /// State of the scheduler.
    pub overview: Arc<Overview>,
    /// Connected and recently lost workers.
    pub workers: Vec<KnownWorker>,
}

impl Metrics {
    /// Text of all metrics, with gauges set from a snapshot. Concurrent scrapes wait for each other, because
    /// a scrape clears and refills families.
    #[must_use]
    pub fn render(&self, snapshot: &GaugeSnapshot) -> String {
        let _one_scrape = self.0.scrape.lock();
        self.set_gauges(snapshot);
        metrics::text(&self.0.registry)
    }

    fn set_gauges(&self, snapshot: &GaugeSnapshot) {
        let families = &self.0.families;
        families.storage_used.set(whole(snapshot.storage.stored));
        families.storage_tasks.set(whole(snapshot.tasks));
        if let Some(free) = snapshot.storage.free {
            families.storage_free.set(whole(free));
        }
        for state in &snapshot.webhooks {
            let labels = ReceiverLabels { receiver: state.receiver.clone() };
            families.notices_undelivered.get_or_create(&labels).set(whole(state.undelivered));
        }
        families.gauges_current.set(i64::from(snapshot.actors.is_some()));
        if let Some(actors) = &snapshot.actors {
            self.set_gauges_of(snapshot.now, actors);
        }
    }

    fn set_gauges_of(&self, now: Millis, actors: &ActorSnapshot) {
        let families = &self.0.families;
        let overview = &actors.overview;
        for mode in ProofMode::ALL {
            let labels = ModeLabels { mode: mode.as_str() };
            let waiting = overview.waiting_by_mode.get(&mode).copied().unwrap_or(0);
            families.jobs_waiting.get_or_create(&labels).set(whole(waiting));
            let running = overview.workers.iter().flat_map(|worker| &worker.running);
            let divided = overview.divided.iter().map(|divided| &divided.proof);
            let running = running.chain(divided).filter(|proof| proof.mode == mode).count();
            families.attempts_running.get_or_create(&labels).set(whole(running));
        }
        for kind in TaskKind::ALL {
            let running = overview.workers.iter().flat_map(|worker| &worker.tasks);
            let running = running.filter(|task| task.kind == kind).count();
            let waiting = overview.waiting_tasks.get(&kind).copied().unwrap_or(0);
            for (state, count) in [("running", running), ("waiting", waiting)] {
                let labels = TaskLabels { kind: kind.as_str(), state };
                families.tasks.get_or_create(&labels).set(whole(count));
            }
        }
        for (kind, bytes) in &overview.task_memory {
            let labels = KindLabels { kind: kind.as_str() };
            families.task_memory.get_or_create(&labels).set(whole(*bytes));
        }
        families.jobs_unfinished.set(whole(overview.unfinished));
        let ahead: usize = overview.workers.iter().map(|worker| worker.ahead.len()).sum();
        families.jobs_ahead.set(whole(ahead));
        families.dispatch_paused.set(i64::from(overview.paused.is_some()));
        let oldest = overview.oldest_waiting.map_or(0, |created| now.since(created));
        families.oldest_wait.set(seconds(oldest));
        let slots: usize =
            overview.workers.iter().map(|worker| worker.capabilities.slots as usize).sum();
        families.slots.set(whole(slots));
        families.workers.clear();
        let work: BTreeMap<_, _> =
            overview.workers.iter().map(|work| (work.worker, work)).collect();
        for known in &actors.workers {
            let Some(work) = work.get(&known.worker) else { continue };
            let labels =
                WorkerLabels { state: known.state().as_str(), backend: work.backend.as_str() };
            families.workers.get_or_create(&labels).inc();
        }
        families.gpus.set(actors.workers.iter().filter_map(|known| {
            let work = work.get(&known.worker)?;
            Some((work.capabilities.gpus.as_slice(), known.gpus.as_slice()))
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr};
    use std::thread;

    use hierophant_scheduler::SessionId;
    use hierophant_scheduler::proofs::WorkerWork;
    use hierophant_scheduler::registry::Credential;
    use network_lib::handshake::{Backend, Capabilities, Gpu};
    use network_lib::ids::WorkerId;

    use super::*;

    const WORKERS: u8 = 50;

    fn work(number: u8) -> WorkerWork {
        let gpu = Gpu { model: "NVIDIA L4".into(), memory_bytes: 24 << 30, driver: None };
        let capabilities = Capabilities {
            vm: "sp1".into(),
            circuit_versions: vec![],
            modes: vec![],
            backend: Backend::Cuda,
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: vec![gpu],
            unavailable_reason: None,
            sharding: None,
        };
        WorkerWork {
            worker: WorkerId([number; 16]),
            backend: Backend::Cuda,
            capabilities,
            private_inputs: true,
            draining: false,
            stats: Default::default(),
            running: vec![],
            ahead: vec![],
            tasks: vec![],
        }
    }

    fn known(number: u8) -> KnownWorker {
        KnownWorker {
            worker: WorkerId([number; 16]),
            session: SessionId(u64::from(number)),
            name: "tobit".into(),
            instance: None,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            credential: Credential::ThisMachine,
            version: String::new(),
            joined_at: Millis(0),
            heard_at: Millis(0),
            draining: false,
            drained: None,
            disconnected: None,
            gpus: vec![],
        }
    }

    #[test]
    fn concurrent_scrapes_count_each_worker_once() {
        let metrics = Metrics::new();
        let overview =
            Overview { workers: (0..WORKERS).map(work).collect(), ..Overview::default() };
        let workers = (0..WORKERS).map(known).collect();
        let snapshot = GaugeSnapshot {
            now: Millis(0),
            actors: Some(ActorSnapshot { overview: Arc::new(overview), workers }),
            storage: Usage { free: None, stored: 0, low: None },
            tasks: 0,
            webhooks: vec![],
        };
        let scrape = || {
            let text = metrics.render(&snapshot);
            let gauges = ["hierophant_workers{", "hierophant_gpus{"];
            let shown = |line: &&str| gauges.iter().any(|name| line.starts_with(name));
            text.lines().filter(shown).map(str::to_owned).collect::<Vec<_>>()
        };
        let texts: BTreeSet<_> = thread::scope(|scope| {
            let scrapes = || (0..100).map(|_| scrape()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(scrapes)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        let wanted = [
            r#"hierophant_workers{state="ready",backend="cuda"} 50"#,
            r#"hierophant_gpus{model="NVIDIA L4"} 50"#,
        ];
        assert_eq!(texts, BTreeSet::from([wanted.map(str::to_owned).to_vec()]));
    }

    #[test]
    fn counters_are_served_while_the_actors_do_not_answer() {
        let metrics = Metrics::new();
        metrics.client_asked(None);
        let storage = Usage { free: None, stored: 7, low: None };
        let webhooks = vec![];
        let snapshot = GaugeSnapshot { now: Millis(0), actors: None, storage, tasks: 9, webhooks };
        let text = metrics.render(&snapshot);
        for line in [
            "hierophant_client_requests_total{client=\"other\"} 1",
            "hierophant_storage_tasks_bytes 9",
            "hierophant_gauges_current 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{text}");
        }
    }
}
