//! The end of the committer.

use hierophant_store::sqlite;
use ractor::Actor;
use tempfile::TempDir;

use super::*;
use crate::artifacts::blobs::Blobs;
use crate::config::Config;
use crate::proofs::assembly::tests::assembler;

/// Forwards the notice that the store is lost.
struct Listener;

#[ractor::async_trait]
impl Actor for Listener {
    type Msg = ProofsMsg;
    type State = mpsc::UnboundedSender<()>;
    type Arguments = mpsc::UnboundedSender<()>;

    async fn pre_start(
        &self,
        _myself: ActorRef<ProofsMsg>,
        lost: mpsc::UnboundedSender<()>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(lost)
    }

    async fn handle(
        &self,
        _myself: ActorRef<ProofsMsg>,
        message: ProofsMsg,
        lost: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, ProofsMsg::StoreLost) {
            lost.send(())?;
        }
        Ok(())
    }
}

async fn deps(folder: &TempDir) -> Deps {
    let store: Arc<dyn JobStore> =
        sqlite::open(&folder.path().join("hierophant.db"), ()).await.expect("opens");
    let blobs = Blobs::open(&folder.path().join("artifacts")).expect("opens");
    let metrics = Metrics::new();
    let config = Config::for_test(folder.path().to_owned());
    let clients = Clients::default();
    let webhooks = Webhooks::open(&[], store.as_ref(), &clients, metrics.clone());
    let webhooks = webhooks.await.expect("opens");
    let apart = folder.path().join("apart");
    std::fs::create_dir(&apart).expect("creates");
    let assembler = assembler(&apart).await;
    Deps {
        checker: ProofChecker::open(&config, blobs, Arc::clone(&store)).expect("opens"),
        tasks: assembler.tasks.clone(),
        assembler,
        clients,
        events: Events::new(1),
        webhooks,
        metrics,
        store,
    }
}

#[tokio::test]
async fn a_committer_that_panics_is_noticed_without_another_decision() {
    let folder = TempDir::new().expect("temp dir");
    let (sender, mut lost) = mpsc::unbounded_channel();
    let (actor, _) = Actor::spawn(None, Listener, sender).await.expect("starts");
    let mut queue =
        EffectQueue::new(deps(&folder).await, actor.clone(), StoredDecisions::default());
    queue.drain().await.expect("it works");
    let panics: Answer = Box::new(|| panic!("a fault of the program"));
    queue.push(Vec::new(), Vec::new(), Some(panics)).await;
    let noticed = tokio::time::timeout(std::time::Duration::from_secs(10), lost.recv()).await;
    noticed.expect("noticed in time").expect("the actor is notified");
    assert!(queue.failure().await.to_string().contains("panic"), "the reason is given");
    actor.stop(None);
}
