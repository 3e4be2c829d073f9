//! What a client sees of one request, from the moment it has an id to the end of the case: polled in the
//! background, every distinct answer kept, so that no case can forget to look.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hierophant_proto::network as pb;
use hierophant_proto::network::prover_network_client::ProverNetworkClient;
use network_lib::ids::Sha256Digest;
use network_lib::job::ProofMode;
use network_lib::task;
use test_peers::blob;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::program;

/// Maximum time of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How a request must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// With a proof of this input, of this kind.
    Proof(u32, ProofMode),
    /// The program is to blame.
    Unexecutable(pb::ExecuteFailureCause),
    /// Withdrawn.
    Cancelled,
    /// Failed for good, or past its deadline.
    Unfulfillable,
    /// Not at all: it still waits when the case ends.
    StillWaiting,
}

/// One answer to a client's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Fulfilment and execution status.
    Status(pb::FulfillmentStatus, pb::ExecutionStatus),
    /// None, or one that clients take for a reason to ask again.
    Away,
    /// An error at which clients give up.
    Refused(Code),
    /// A status that some SDK does not know.
    Unknown(i32, i32),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use pb::{ExecutionStatus as Execution, FulfillmentStatus as Fulfillment};
        match self {
            Self::Status(_, Execution::Unexecutable) => f.write_str("UNEXECUTABLE"),
            Self::Status(Fulfillment::Assigned, _) => f.write_str("ASSIGNED"),
            Self::Status(Fulfillment::Fulfilled, _) => f.write_str("FULFILLED"),
            Self::Status(Fulfillment::Unfulfillable, _) => f.write_str("UNFULFILLABLE"),
            Self::Status(other, _) => write!(f, "{other:?}"),
            Self::Away => f.write_str("no answer"),
            Self::Refused(code) => write!(f, "error {code:?}"),
            Self::Unknown(fulfillment, execution) => write!(f, "{fulfillment}/{execution}?"),
        }
    }
}

impl Seen {
    fn is_end(self) -> bool {
        use pb::FulfillmentStatus::{Assigned, Requested};
        match self {
            Self::Status(fulfillment, _) => !matches!(fulfillment, Assigned | Requested),
            Self::Refused(_) | Self::Unknown(..) => true,
            Self::Away => false,
        }
    }
}

/// What was seen of one request.
#[derive(Debug, Default)]
struct Diary {
    /// Distinct answers, in order.
    seen: Vec<Seen>,
    ended: Option<Instant>,
    /// Digest of the proof that was served, or why it was bad.
    proof: Option<Result<Sha256Digest, String>>,
    answers: u64,
    /// Whether the case has destroyed the proof: then FULFILLED may be taken back until it is made again.
    proof_destroyed: bool,
}

/// Watches one request until it is dropped.
#[derive(Debug)]
pub(crate) struct Observer {
    /// What the client polls.
    pub(crate) request: Vec<u8>,
    /// How it must end.
    pub(crate) expected: Expected,
    diary: Arc<Mutex<Diary>>,
    _stop: DropGuard,
}

impl Observer {
    /// Starts to poll by `channel`, every `pause`.
    pub(crate) fn start(
        channel: Channel,
        http: reqwest::Client,
        request: Vec<u8>,
        expected: Expected,
        pause: Duration,
    ) -> Self {
        let diary = Arc::<Mutex<Diary>>::default();
        let stop = CancellationToken::new();
        let poll = poll(channel, http, request.clone(), expected, pause, Arc::clone(&diary));
        task::spawn("observer", stop.clone().run_until_cancelled_owned(poll));
        Self { request, expected, diary, _stop: stop.drop_guard() }
    }

    /// When the request reached its end, if it has.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.read().ended
    }

    /// How often an answer came.
    pub(crate) fn answers(&self) -> u64 {
        self.read().answers
    }

    /// Digest of the proof that was served, if it was good.
    pub(crate) fn proof(&self) -> Option<Sha256Digest> {
        self.read().proof.clone().and_then(Result::ok)
    }

    /// The distinct answers as one line, and how often in between there was none. Silence at the end is
    /// left out: the case is over, and Hierophant was stopped.
    pub(crate) fn story(&self) -> String {
        let (mut words, mut last, mut gaps) = (Vec::new(), None, 0);
        for seen in self.read().seen.iter().copied() {
            if seen == Seen::Away {
                gaps += 1;
            } else if last != Some(seen) {
                words.push(seen.to_string());
                last = Some(seen);
            }
        }
        let ends_in_silence = self.read().seen.last() == Some(&Seen::Away);
        match (words.is_empty(), gaps - u32::from(ends_in_silence)) {
            (true, _) => "nothing".into(),
            (false, 0) => words.join(" → "),
            (false, 1) => format!("{} (1 gap)", words.join(" → ")),
            (false, gaps) => format!("{} ({gaps} gaps)", words.join(" → ")),
        }
    }

    /// Whether the request has got where it must.
    pub(crate) fn has_arrived(&self) -> bool {
        self.expected == Expected::StillWaiting || self.ended().is_some()
    }

    /// Whether the client has lost something: the request did not end as it must, or the proof that
    /// was served is none.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let diary = self.read();
        let mut answers: Vec<Seen> =
            diary.seen.iter().copied().filter(|seen| *seen != Seen::Away).collect();
        answers.dedup();
        let end = answers.last().copied();
        let taken_back = |seen: &&Seen| match seen {
            Seen::Status(pb::FulfillmentStatus::Fulfilled, _) => !diary.proof_destroyed,
            seen => seen.is_end(),
        };
        if let Some(early) = answers.iter().rev().skip(1).find(taken_back) {
            return Err(format!("saw {early}, and then another status"));
        }
        if !end.is_some_and(|end| is_expected(self.expected, end)) {
            let end = end.map_or("nothing".into(), |end| end.to_string());
            return Err(format!("ended with {end}, expected {:?}", self.expected));
        }
        match (&diary.proof, self.expected) {
            (Some(Err(fault)), _) => Err(fault.clone()),
            (None, Expected::Proof(..)) => Err("the proof was not served".into()),
            _ => Ok(()),
        }
    }

    /// The case destroys the stored proof of this request.
    pub(crate) fn proof_is_destroyed(&self) {
        self.read().proof_destroyed = true;
    }

    fn read(&self) -> std::sync::MutexGuard<'_, Diary> {
        self.diary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_expected(expected: Expected, end: Seen) -> bool {
    use pb::{ExecutionStatus as Execution, FulfillmentStatus as Fulfillment};
    let Seen::Status(fulfillment, execution) = end else { return false };
    let unexecutable = execution == Execution::Unexecutable;
    match expected {
        Expected::Proof(..) => {
            fulfillment == Fulfillment::Fulfilled && execution == Execution::Executed
        }
        Expected::Unexecutable(_) => fulfillment == Fulfillment::Unfulfillable && unexecutable,
        Expected::Cancelled | Expected::Unfulfillable => {
            fulfillment == Fulfillment::Unfulfillable && !unexecutable
        }
        Expected::StillWaiting => fulfillment == Fulfillment::Assigned,
    }
}

async fn poll(
    channel: Channel,
    http: reqwest::Client,
    request: Vec<u8>,
    expected: Expected,
    pause: Duration,
    diary: Arc<Mutex<Diary>>,
) {
    let mut network = ProverNetworkClient::new(channel);
    loop {
        let question = pb::GetProofRequestStatusRequest { request_id: request.clone() };
        let answer = timeout(ANSWER_LIMIT, network.get_proof_request_status(question)).await;
        let (seen, uri) = match answer {
            Ok(Ok(answer)) => understand(answer.into_inner()),
            Ok(Err(status)) if is_transient(&status) => (Seen::Away, None),
            Ok(Err(status)) => (Seen::Refused(status.code()), None),
            Err(_) => (Seen::Away, None),
        };
        let wants_proof = {
            let mut diary = diary.lock().unwrap_or_else(PoisonError::into_inner);
            diary.answers += u64::from(seen != Seen::Away);
            if diary.seen.last() != Some(&seen) {
                diary.seen.push(seen);
            }
            if seen.is_end() && uri.is_none() {
                diary.ended.get_or_insert_with(Instant::now);
            }
            !matches!(diary.proof, Some(Ok(_)))
        };
        if let Some(uri) = uri.filter(|_| wants_proof) {
            let fetched = timeout(ANSWER_LIMIT * 5, fetch(&http, &uri, expected)).await;
            // What could not be fetched now is fetched at the next answer, as a client would.
            if let Ok(Some(proof)) = fetched {
                let mut diary = diary.lock().unwrap_or_else(PoisonError::into_inner);
                diary.ended.get_or_insert_with(Instant::now);
                diary.proof = Some(proof);
            }
        }
        sleep(pause).await;
    }
}

fn understand(answer: pb::GetProofRequestStatusResponse) -> (Seen, Option<String>) {
    let fulfillment = pb::FulfillmentStatus::try_from(answer.fulfillment_status);
    let execution = pb::ExecutionStatus::try_from(answer.execution_status);
    let seen = match (fulfillment, execution) {
        (Ok(fulfillment), Ok(execution)) => Seen::Status(fulfillment, execution),
        _ => Seen::Unknown(answer.fulfillment_status, answer.execution_status),
    };
    (simplified(seen), answer.proof_uri)
}

/// A waiting request's execution may be known or not; to a client both are waiting.
fn simplified(seen: Seen) -> Seen {
    use pb::{ExecutionStatus as Execution, FulfillmentStatus as Fulfillment};
    match seen {
        Seen::Status(Fulfillment::Assigned, Execution::Executed) => {
            Seen::Status(Fulfillment::Assigned, Execution::Unexecuted)
        }
        other => other,
    }
}

/// Texts of errors that arise inside a client when its connection ends. "Operation was canceled" is a
/// call that was queued on a connection that has just closed: no server can help it.
const TRANSIENT_TEXTS: [&str; 6] = [
    "transport error",
    "connection reset",
    "broken pipe",
    "timeout",
    "not ready",
    "operation was canceled",
];

/// What an SDK client asks again after (contract, section 5.2).
fn is_transient(status: &Status) -> bool {
    let text = status.message().to_lowercase();
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Aborted
    ) || matches!(status.code(), Code::Unknown | Code::Cancelled)
        && TRANSIENT_TEXTS.iter().any(|known| text.contains(known))
}

/// The proof as a client downloads it; `None` if the client would try again.
async fn fetch(
    http: &reqwest::Client,
    uri: &str,
    expected: Expected,
) -> Option<Result<Sha256Digest, String>> {
    let answer = http.get(uri).send().await.ok()?;
    let status = answer.status();
    if status.is_server_error() {
        return None;
    }
    if !status.is_success() {
        return Some(Err(format!("the proof was answered with {status}")));
    }
    let bytes = answer.bytes().await.ok()?;
    let Expected::Proof(n, mode) = expected else {
        return Some(Err("a proof where there should be none".into()));
    };
    let right_kind = bytes.starts_with(&(mode as u32).to_le_bytes());
    if right_kind && bytes.ends_with(&program::proof_ending(n)) {
        Some(Ok(blob(&bytes).sha256))
    } else {
        Some(Err(format!("the served artifact is not a {mode} proof of input {n}")))
    }
}
