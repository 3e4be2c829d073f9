//! Limits on frames, and the end of a worker that does not read.

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::get;
use network_lib::wire::ToWorker;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::artifacts::blobs::Blobs;
use crate::proofs::message::ProofsMsg;
use crate::registry::message::RegistryMsg;
use crate::session::SessionHandle;

#[test]
fn jobs_allow_further_frames_once() {
    let now = Instant::now();
    let mut rate = Rate::new(now);
    assert!((0..MAX_FRAMES_PER_SECOND).all(|_| rate.allows(now, 0, 100).is_ok()));
    assert!((0..3 * FRAMES_PER_JOB).all(|_| rate.allows(now, 3, 100).is_ok()));
    let later = now + Duration::from_secs(1);
    assert!((0..MAX_FRAMES_PER_SECOND).all(|_| rate.allows(later, 3, 100).is_ok()));
    assert!(rate.allows(later, 3, 100).is_err(), "what the three jobs allowed is used up");
}

#[test]
fn what_jobs_leave_unused_is_bounded() {
    let now = Instant::now();
    let mut rate = Rate::new(now);
    let jobs = 10 * MAX_UNUSED_FRAMES;
    let allowed = MAX_FRAMES_PER_SECOND + MAX_UNUSED_FRAMES;
    assert!((0..allowed).all(|_| rate.allows(now, jobs, 100).is_ok()));
    assert!(rate.allows(now, jobs, 100).is_err());
}

#[test]
fn bytes_are_limited_beside_frames_and_reports_on_many_jobs_are_not() {
    let now = Instant::now();
    let mut rate = Rate::new(now);
    let long = 200_000;
    assert!((0..5).all(|_| rate.allows(now, 0, long).is_ok()));
    let excess = rate.allows(now, 0, long).expect_err("six long frames in a second");
    assert_eq!(excess, "more than 1048576 bytes per second");
    let mut rate = Rate::new(now);
    let frames = MAX_FRAMES_PER_SECOND + 500 * FRAMES_PER_JOB;
    assert!((0..frames).all(|_| rate.allows(now, 500, 4000).is_ok()));
}

/// A registry that only notices the ends of sessions.
struct Ends;

#[ractor::async_trait]
impl Actor for Ends {
    type Msg = RegistryMsg;
    type State = mpsc::UnboundedSender<SessionEnd>;
    type Arguments = mpsc::UnboundedSender<SessionEnd>;

    async fn pre_start(
        &self,
        _myself: ActorRef<RegistryMsg>,
        ends: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(ends)
    }

    async fn handle(
        &self,
        _myself: ActorRef<RegistryMsg>,
        message: RegistryMsg,
        ends: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let RegistryMsg::SessionEnded(_, _, end) = message {
            ends.send(end)?;
        }
        Ok(())
    }
}

/// Actor of proofs that does nothing.
struct Idle;

#[ractor::async_trait]
impl Actor for Idle {
    type Msg = ProofsMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<ProofsMsg>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test]
async fn the_socket_of_a_worker_that_does_not_read_is_dropped_at_once() {
    let (sender, mut ends) = mpsc::unbounded_channel();
    let (registry, _) = Actor::spawn(None, Ends, sender).await.expect("starts");
    let (proofs, _) = Actor::spawn(None, Idle, ()).await.expect("starts");
    let folder = tempfile::TempDir::new().expect("temp dir");
    let store = hierophant_store::sqlite::open(&folder.path().join("hierophant.db"), ()).await;
    let blobs = Blobs::open(&folder.path().join("artifacts")).expect("opens");
    let proofs = ProofsHandle::for_test(proofs, store.expect("opens"), blobs);
    let registry = RegistryHandle::new(registry);
    let (sender, mut sessions) = mpsc::unbounded_channel();
    let upgrade = move |upgrade: WebSocketUpgrade| {
        let (sender, registry, proofs) = (sender.clone(), registry.clone(), proofs.clone());
        let serve = move |socket| async move {
            let (handle, queues) = SessionHandle::new();
            let (worker, session) = (WorkerId([1; 16]), SessionId(1));
            let peer = IpAddr::from([127, 0, 0, 1]);
            Session { worker, session, peer, registry, proofs }.start(socket, queues);
            sender.send(handle).expect("the test waits for it");
        };
        async move { upgrade.on_upgrade(serve) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let server = axum::serve(listener, Router::new().route("/", get(upgrade)));
    task::spawn("server", server.into_future());
    let (mut worker, _) = tokio_tungstenite::connect_async(url).await.expect("connects");
    let session = sessions.recv().await.expect("a session");
    let end = loop {
        session.send(ToWorker::Drain { reason: "x".repeat(100_000) });
        tokio::task::yield_now().await;
        if let Ok(end) = ends.try_recv() {
            break end;
        }
    };
    assert_eq!(end, SessionEnd::Closed("does not read its messages".into()));
    let start = Instant::now();
    while let Some(Ok(_)) = worker.next().await {}
    let waited = start.elapsed();
    assert!(waited < CLOSE_LIMIT, "the connection lasted for {waited:?}");
}
