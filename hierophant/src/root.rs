//! Supervisor of the three actors.
//!
//! If an actor fails, the actors no longer agree with each other or with the store, and only a restart from the
//! store repairs that. The root therefore restarts no actor: it reports the failure, and [`crate::run`] returns an
//! error so that the service manager starts Hierophant again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hierophant_model::clients::{Clients, NamedClient, Quota};
use hierophant_model::records::Millis;
use hierophant_scheduler::proofs::core::Limits;
use hierophant_scheduler::proofs::{ShardingLimits, shards};
use hierophant_scheduler::registry::core::Rules;
use hierophant_store::JobStore;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use crate::artifacts::actor::ArtifactsActor;
use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::artifacts::task_blobs::TaskBlobs;
use crate::artifacts::{ArtifactsHandle, retention};
use crate::config::{ClientConfig, Config};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::proofs::ProofsHandle;
use crate::proofs::actor::{ProofsActor, ProofsArguments};
use crate::registry::RegistryHandle;
use crate::registry::actor::{RegistryActor, RegistryArguments};
use crate::registry::local::LocalSecret;
use crate::tokens::Tokens;
use crate::verify::ProofChecker;
use crate::webhooks::Webhooks;

/// Handles to the actors.
#[derive(Debug, Clone)]
pub struct Handles {
    /// Requests and jobs.
    pub proofs: ProofsHandle,
    /// Workers.
    pub registry: RegistryHandle,
    /// Uploads and proofs.
    pub artifacts: ArtifactsHandle,
}

/// Shared resources of the actors and the API.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Store.
    pub store: Arc<dyn JobStore>,
    /// Data of artifacts.
    pub blobs: Blobs,
    /// Bytes of tasks.
    pub tasks: TaskBlobs,
    /// Free storage.
    pub budget: DiskBudget,
    /// Metrics.
    pub metrics: Metrics,
    /// Event stream.
    pub events: Events,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// Access tokens.
    pub tokens: Tokens,
    /// The secret by which workers prove that they run on this machine.
    pub local_secret: LocalSecret,
}

/// Running actors.
#[derive(Debug)]
pub struct Root {
    /// Handles to the actors.
    pub handles: Handles,
    actor: ActorRef<()>,
    broken: watch::Receiver<Option<String>>,
}

impl Root {
    /// Starts the actors.
    ///
    /// # Errors
    ///
    /// When an actor does not start, for instance because the store cannot be read.
    pub async fn start(config: &Config, resources: Resources) -> anyhow::Result<Self> {
        let Resources { store, blobs, tasks, budget, metrics, events, webhooks, tokens, .. } =
            resources;
        let (report, broken) = watch::channel(None);
        let (actor, _) = Actor::spawn(None, RootActor, report).await?;
        let above = actor.get_cell();
        let artifacts = ArtifactsActor::start(
            Arc::clone(&store),
            blobs.clone(),
            retention_rules(config),
            budget,
            clients(config),
            metrics.clone(),
            above.clone(),
        )
        .await?;
        let checker = ProofChecker::open(config, blobs.clone(), Arc::clone(&store))
            .context("cannot use the folder `checks` in `data_dir`; make it writable")?;
        let arguments = ProofsArguments {
            store: Arc::clone(&store),
            blobs,
            artifacts: artifacts.clone(),
            tasks,
            limits: proof_limits(config),
            quarantine: config.proofs.quarantine,
            checker,
            metrics: metrics.clone(),
            events: events.clone(),
            webhooks,
        };
        let proofs = ProofsActor::start(arguments, above.clone()).await?;
        let arguments = RegistryArguments {
            rules: registry_rules(config),
            shared_token: config.worker_token.clone(),
            tokens,
            private_inputs: config.private_inputs,
            heartbeat_interval: config.worker_registry.heartbeat_interval,
            proofs: proofs.clone(),
            store,
            events,
            metrics,
        };
        let registry = RegistryActor::start(arguments, above).await?;
        Ok(Self { handles: Handles { proofs, registry, artifacts }, actor, broken })
    }

    /// Waits until an actor has failed; returns the reason.
    pub async fn broken(&self) -> String {
        let mut broken = self.broken.clone();
        match broken.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the supervisor has ended".into(),
        }
    }

    /// Closes the workers' sockets and stops the actors.
    pub async fn stop(self) {
        if self.handles.registry.close_all().await.is_err() {
            tracing::warn!("registry did not close its sessions in time");
        }
        self.actor.stop_children_and_wait(None, Some(Duration::from_secs(10))).await;
        if self.actor.stop_and_wait(None, Some(Duration::from_secs(5))).await.is_err() {
            tracing::warn!("supervisor did not stop in time");
        }
    }
}

struct RootActor;

#[ractor::async_trait]
impl Actor for RootActor {
    type Msg = ();
    type State = watch::Sender<Option<String>>;
    type Arguments = watch::Sender<Option<String>>;

    async fn pre_start(
        &self,
        _myself: ActorRef<()>,
        report: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(report)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        report: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => {
                report.send_replace(Some(format!("actor failed: {error}")));
            }
            SupervisionEvent::ActorTerminated(_, _, reason) => {
                tracing::debug!(reason, "actor stopped");
            }
            _ => {}
        }
        Ok(())
    }
}

/// Names and quotas of the configured clients.
#[must_use]
pub fn clients(config: &Config) -> Clients {
    let quotas = &config.quotas;
    let others = Quota {
        requests_per_minute: quotas.requests_per_minute,
        open_requests: quotas.open_requests,
        cycles_per_day: quotas.cycles_per_day,
        stored_bytes: quotas.stored_bytes,
        open_tickets: quotas.open_tickets,
        programs: quotas.programs,
    };
    let named = config.clients.iter().map(|client| {
        let quota = Quota {
            requests_per_minute: client.requests_per_minute.unwrap_or(others.requests_per_minute),
            open_requests: client.open_requests.unwrap_or(others.open_requests),
            cycles_per_day: client.cycles_per_day.unwrap_or(others.cycles_per_day),
            stored_bytes: client.stored_bytes.unwrap_or(others.stored_bytes),
            open_tickets: client.open_tickets.unwrap_or(others.open_tickets),
            programs: client.programs.unwrap_or(others.programs),
        };
        NamedClient {
            name: client.name.clone(),
            addresses: client.all_addresses().collect(),
            networks: client.networks.iter().map(|network| network.0).collect(),
            quota,
        }
    });
    Clients::new(named, others, quotas.strangers_tickets)
        .with_strangers_requests(quotas.strangers_requests_per_minute)
}

/// Limits of the scheduler.
fn proof_limits(config: &Config) -> Limits {
    let registry = &config.worker_registry;
    Limits {
        max_attempts: config.proofs.max_attempts.get(),
        max_waiting: config.proofs.max_waiting.get(),
        clients: clients(config),
        urgent_modes: config.proofs.urgent_modes.clone(),
        race_after: config.proofs.race_after,
        attempt_limit_ms: Millis::from(config.proofs.attempt_limit).0,
        stall_limit_ms: i64::from(registry.worker_required_progress_interval_mins) * 60_000,
        unlisted_limit_ms: Millis::from(registry.silence_limit).0,
        return_limit_ms: Millis::from(registry.return_limit).0,
        max_strikes: registry.max_strikes,
        strike_decay_ms: Millis::from(registry.strike_decay).0,
        sharding: sharding_limits(config),
    }
}

/// Limits of proofs that are made as tasks of many workers.
fn sharding_limits(config: &Config) -> ShardingLimits {
    let sharding = &config.sharding;
    let own_mode = |client: &ClientConfig| Some((client.name.as_str().into(), client.sharding?));
    ShardingLimits {
        mode: sharding.mode,
        modes_by_client: config.clients.iter().filter_map(own_mode).collect(),
        max_blob_bytes: sharding.max_blob_bytes,
        job: shards::Limits {
            max_attempts: sharding.max_attempts.get(),
            max_retries: sharding.max_retries,
            max_restarts: sharding.max_restarts,
            race_after: sharding.race_after,
            window_bytes: sharding.window_bytes,
        },
    }
}

/// Retention times of artifacts.
const fn retention_rules(config: &Config) -> retention::Rules {
    let config = &config.retention;
    retention::Rules {
        proofs_after_delivery: config.proofs_after_delivery,
        proofs_undelivered: config.proofs_undelivered,
        inputs_after_end: config.inputs_after_end,
        unused_uploads: config.unused_uploads,
    }
}

/// Rules for admission and liveness of workers.
fn registry_rules(config: &Config) -> Rules {
    let registry = &config.worker_registry;
    let silence = registry.silence_limit.as_millis();
    Rules {
        max_workers: registry.max_workers.get(),
        max_workers_per_token: registry.max_workers_per_token,
        max_slots: registry.max_slots.get(),
        silence_limit_ms: u64::try_from(silence).unwrap_or(u64::MAX),
        mock_mode: config.mock_mode,
        blocked: registry.blocked.clone(),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use hierophant_model::clients::Client;
    use hierophant_scheduler::proofs::shards::policy::ShardingMode;

    use super::*;

    #[test]
    fn a_clients_own_quota_precedes_the_default() {
        let mut config = Config::for_test("unused".into());
        config.quotas.open_requests = 7;
        config.quotas.stored_bytes = 70;
        config.clients = vec![ClientConfig {
            address: Some(Address::repeat_byte(1)),
            name: "rollup".into(),
            open_requests: Some(9),
            stored_bytes: Some(0),
            ..ClientConfig::default()
        }];
        let clients = clients(&config);
        let quota = |byte| clients.quota(&clients.of(Address::repeat_byte(byte), None));
        let (own, others) = (quota(1), quota(2));
        assert_eq!((own.open_requests, own.stored_bytes), (9, 0));
        assert_eq!((others.open_requests, others.stored_bytes), (7, 70));
        assert_eq!(own.open_tickets, others.open_tickets);
        assert_eq!(clients.name(Address::repeat_byte(1)), Some("rollup"));
        assert_eq!(clients.name(Address::repeat_byte(2)), None);
    }

    #[test]
    fn a_clients_own_mode_of_sharding_precedes_the_default() {
        let mut config = Config::for_test("unused".into());
        config.clients = vec![
            ClientConfig {
                name: "rollup".into(),
                sharding: Some(ShardingMode::Never),
                ..ClientConfig::default()
            },
            ClientConfig { name: "bridge".into(), ..ClientConfig::default() },
        ];
        let limits = sharding_limits(&config);
        let mode = |name: &str| limits.mode_of(&Client::Named(name.into()));
        assert_eq!((mode("rollup"), mode("bridge")), (ShardingMode::Never, ShardingMode::Auto));
        assert_eq!(limits.mode_of(&Client::Address(Address::ZERO)), ShardingMode::Auto);
    }
}
