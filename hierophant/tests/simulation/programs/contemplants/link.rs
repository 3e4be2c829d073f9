//! Connection of a worker, from the handshake to its end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use network_lib::codec;
use network_lib::handshake::Welcome;
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};
use network_lib::task;
use network_lib::wire::{FromWorker, ToWorker};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use turmoil::net::TcpStream;

use super::super::network::{self, HTTP, PATIENCE};
use super::{Contemplant, Held, attempt};

/// Number of heartbeat intervals of silence after which the connection counts as dead.
const SILENT_INTERVALS: u32 = 4;

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn say(&mut self, message: &FromWorker) -> Result<(), String> {
        self.send(Message::text(codec::encode(message))).await
    }

    async fn send(&mut self, message: Message) -> Result<(), String> {
        match timeout(PATIENCE, self.0.send(message)).await {
            Ok(sent) => sent.map_err(|_| "the connection broke".to_owned()),
            Err(_) => Err("nothing is read".into()),
        }
    }

    /// Next message; nothing for a mere heartbeat.
    async fn hear(&mut self) -> Result<Option<ToWorker>, String> {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => {
                Ok(Some(codec::decode(text.as_str()).expect("a known message")))
            }
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                Err(format!("Hierophant closes: {reason}"))
            }
            Some(Ok(_)) => Ok(None),
            Some(Err(_)) | None => Err("the connection broke".into()),
        }
    }
}

/// Returns the reason why the connection has ended.
pub(super) async fn connect_and_serve(contemplant: &Contemplant) -> String {
    let opened = timeout(2 * PATIENCE, open(contemplant)).await;
    let (socket, welcome) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(why)) => return why,
        Err(_) => return "no welcome in time".into(),
    };
    contemplant.tell(&format!("is welcome, and goes on with {}", welcome.resume.len()));
    contemplant.state().key = Some(welcome.access_key.clone());
    resume(contemplant, &welcome.resume);
    match serve(contemplant, socket, &welcome).await {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

async fn open(contemplant: &Contemplant) -> Result<(Socket, Welcome), String> {
    let stream = network::dial(HTTP).await.map_err(|error| error.to_string())?;
    let upgraded = tokio_tungstenite::client_async("ws://hierophant:9010/ws", stream).await;
    let (stream, _) = upgraded.map_err(|_| "the connection broke".to_owned())?;
    let mut socket = Socket(stream);
    socket.say(&FromWorker::Hello(contemplant.hello())).await?;
    loop {
        match socket.hear().await? {
            Some(ToWorker::Welcome(welcome)) => return Ok((socket, welcome)),
            Some(ToWorker::Refused(refusal)) => {
                assert!(refusal.code.is_transient(), "refused: {refusal:?}");
                return Err(format!("refused: {:?}", refusal.code));
            }
            Some(other) => panic!("the first word is {other:?}"),
            None => {}
        }
    }
}

/// Continues the attempts that Hierophant resumes, and drops the others.
fn resume(contemplant: &Contemplant, wanted: &[LeaseId]) {
    let held: Vec<LeaseId> = contemplant.state().held.keys().copied().collect();
    for lease in held.iter().filter(|lease| !wanted.contains(lease)) {
        contemplant.forget(*lease);
    }
    for lease in wanted {
        let mut state = contemplant.state();
        let token = CancellationToken::new();
        match state.held.get_mut(lease) {
            Some(Held::Over { reported, .. }) => *reported = false,
            Some(held @ Held::Finished) => {
                *held = Held::Running(token.clone());
                drop(state);
                task::spawn("hand in", attempt::resume(contemplant.clone(), *lease, token));
            }
            Some(Held::Running(_) | Held::WindingDown) => {}
            None => panic!("Hierophant goes on with an attempt that was not named"),
        }
    }
}

async fn serve(
    contemplant: &Contemplant,
    mut socket: Socket,
    welcome: &Welcome,
) -> Result<std::convert::Infallible, String> {
    let pause = Duration::from_millis(welcome.heartbeat_interval_ms);
    let mut heartbeats = tokio::time::interval(pause);
    let mut last_heard = Instant::now();
    loop {
        for message in unsaid(contemplant) {
            socket.say(&message).await?;
        }
        tokio::select! {
            biased;
            _ = heartbeats.tick() => {
                if last_heard.elapsed() > pause * SILENT_INTERVALS {
                    return Err("Hierophant is silent".into());
                }
                let held = working_on(contemplant);
                socket.say(&FromWorker::Heartbeat { held, gpus: vec![] }).await?;
                socket.send(Message::Ping(vec![].into())).await?;
            }
            heard = socket.hear() => {
                last_heard = Instant::now();
                if let Some(message) = heard? {
                    handle(contemplant, message);
                }
                contemplant.state().heard += 1;
            }
            () = contemplant.changed.notified() => {}
        }
    }
}

fn handle(contemplant: &Contemplant, message: ToWorker) {
    match message {
        ToWorker::Prove { lease_id, stdin, .. } => {
            let mut state = contemplant.state();
            let running = |held: &&Held| matches!(held, Held::Running(_));
            let full = state.held.values().filter(running).count() >= contemplant.slots as usize;
            let token = CancellationToken::new();
            let before = state.held.insert(lease_id, Held::Running(token.clone()));
            assert!(before.is_none(), "a lease came twice");
            drop(state);
            if full {
                let failure = failure(FailureClass::Infrastructure, "no free slot");
                return contemplant.over(lease_id, FromWorker::Failed { lease_id, failure });
            }
            let work = attempt::run(contemplant.clone(), lease_id, stdin, token);
            task::spawn("attempt", work);
        }
        ToWorker::Cancel { lease_id, .. } | ToWorker::Settled { lease_id } => {
            contemplant.forget(lease_id);
        }
        ToWorker::Welcome(_)
        | ToWorker::Refused(_)
        | ToWorker::Drain { .. }
        | ToWorker::Task(_) => {
            panic!("not the time for {message:?}");
        }
    }
}

/// Messages that are due; they count as sent.
fn unsaid(contemplant: &Contemplant) -> Vec<FromWorker> {
    let mut state = contemplant.state();
    let mut messages = std::mem::take(&mut state.news);
    for held in state.held.values_mut() {
        if let Held::Over { message, reported: reported @ false } = held {
            *reported = true;
            messages.push(FromWorker::clone(message));
        }
    }
    messages
}

fn working_on(contemplant: &Contemplant) -> Vec<LeaseId> {
    let state = contemplant.state();
    let busy = |held: &Held| !matches!(held, Held::Over { reported: true, .. });
    state.held.iter().filter(|(_, held)| busy(held)).map(|(lease, _)| *lease).collect()
}

pub(super) fn failure(class: FailureClass, message: &str) -> Failure {
    Failure::new(class, message)
}
