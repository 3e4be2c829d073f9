//! The supervisor above the three owners of state.
//!
//! If one of them ends, they no longer agree with each other or with the store, and only a fresh start
//! from the store mends that. So the root does not restart one of them: it reports the end, and
//! [`crate::run`] stops with an error for the service manager to start anew.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use crate::artifacts::ArtifactsHandle;
use crate::artifacts::actor::ArtifactsActor;
use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::clients::Clients;
use crate::config::Config;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::proofs::ProofsHandle;
use crate::proofs::actor::{ProofsActor, ProofsArguments};
use crate::registry::RegistryHandle;
use crate::registry::actor::{RegistryActor, RegistryArguments};
use crate::store::JobStore;
use crate::tokens::Tokens;
use crate::verify::ProofChecker;
use crate::webhooks::Webhooks;

/// Handles to the owners of state.
#[derive(Debug, Clone)]
pub struct Owners {
    /// Requests and jobs.
    pub proofs: ProofsHandle,
    /// Workers.
    pub registry: RegistryHandle,
    /// Uploads and proofs.
    pub artifacts: ArtifactsHandle,
}

/// What the owners of state and the API stand on.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Facts.
    pub store: Arc<dyn JobStore>,
    /// Bytes.
    pub blobs: Blobs,
    /// How full the disk is.
    pub budget: DiskBudget,
    /// What is measured.
    pub metrics: Metrics,
    /// Who hears of changes at once.
    pub events: Events,
    /// Who is to hear of ends.
    pub webhooks: Webhooks,
    /// Who has a token.
    pub tokens: Tokens,
}

/// The running actors.
#[derive(Debug)]
pub struct Root {
    /// How to talk to them.
    pub owners: Owners,
    actor: ActorRef<()>,
    broken: watch::Receiver<Option<String>>,
}

impl Root {
    /// Starts the actors.
    ///
    /// # Errors
    ///
    /// When one of them does not start, for instance because the store cannot be read.
    pub async fn start(config: &Config, resources: Resources) -> anyhow::Result<Self> {
        let Resources { store, blobs, budget, metrics, events, webhooks, tokens } = resources;
        let (report, broken) = watch::channel(None);
        let (actor, _) = Actor::spawn(None, RootActor, report).await?;
        let above = actor.get_cell();
        let artifacts = ArtifactsActor::start(
            Arc::clone(&store),
            blobs.clone(),
            config.retention_rules(),
            budget,
            Clients::new(config),
            metrics.clone(),
            above.clone(),
        )
        .await?;
        let checker = ProofChecker::new(blobs.clone(), Arc::clone(&store), config.mock_mode);
        let arguments = ProofsArguments {
            store: Arc::clone(&store),
            blobs,
            limits: config.proof_limits(),
            quarantine: config.proofs.quarantine,
            checker,
            metrics,
            events: events.clone(),
            webhooks,
        };
        let proofs = ProofsActor::start(arguments, above.clone()).await?;
        let arguments = RegistryArguments {
            rules: config.registry_rules(),
            shared_token: config.worker_token.as_ref().map(|token| token.0.as_str().into()),
            tokens,
            heartbeat_interval: config.worker_registry.heartbeat_interval,
            proofs: proofs.clone(),
            store,
            events,
        };
        let registry = RegistryActor::start(arguments, above).await?;
        Ok(Self { owners: Owners { proofs, registry, artifacts }, actor, broken })
    }

    /// Returns when one of the actors has ended, with the reason.
    pub async fn broken(&self) -> String {
        let mut broken = self.broken.clone();
        match broken.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the supervisor has ended".into(),
        }
    }

    /// Closes the workers' sockets and stops the actors.
    pub async fn stop(self) {
        if self.owners.registry.close_all().await.is_err() {
            tracing::warn!("the registry did not close its sessions in time");
        }
        self.actor.stop_children_and_wait(None, Some(Duration::from_secs(10))).await;
        if self.actor.stop_and_wait(None, Some(Duration::from_secs(5))).await.is_err() {
            tracing::warn!("the supervisor did not stop in time");
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
                report.send_replace(Some(format!("an owner of state failed: {error}")));
            }
            SupervisionEvent::ActorTerminated(_, _, reason) => {
                tracing::debug!(reason, "an owner of state has stopped");
            }
            _ => {}
        }
        Ok(())
    }
}
