//! Checks: Hierophant can be reached, accepts this worker and its token, and has the same time.

use std::time::{Duration, SystemTime};

use headers::{Date, HeaderMapExt};
use network_lib::handshake::{Backend, Capabilities, Hello, ProtocolRange, RefusalCode};
use network_lib::ids::WorkerId;
use reqwest::{Client, redirect};
use rustls::ClientConfig;

use crate::config::{BackendChoice, Config, Endpoints, endpoints};
use crate::link::{self, ConnectError};
use crate::machine::Finding;
use crate::trust::Trust;

/// Largest difference between two clocks without a warning.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// Precision of the time in an answer: it has whole seconds, and a server may renew it once a second.
const DATE_PRECISION: Duration = Duration::from_secs(2);

/// Time limit for the answer with Hierophant's time.
const DATE_LIMIT: Duration = Duration::from_secs(10);

/// Checks that need Hierophant. If it cannot be reached, that is the only finding.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let address = &config.hierophant_ws_address;
    let what = "hierophant";
    let endpoints = match endpoints(address) {
        Ok(endpoints) => endpoints,
        Err(fault) => return vec![Finding::failed(what, format!("the address {fault}"))],
    };
    // TLS needs a provider. One that is set already is kept.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trust = Trust::new(config.tls.clone());
    let mut findings = match greet(config, &endpoints, &trust).await {
        Ok(version) => vec![
            Finding::passed(what, format!("version {version} at {address} accepts this worker")),
            Finding::passed("token", accepted_token(config)),
        ],
        Err(ConnectError::Refused(refusal)) if refusal.code == RefusalCode::Unauthorized => vec![
            Finding::passed(what, format!("{address} answers")),
            Finding::failed("token", refusal.message),
        ],
        // The doctor has an identity of its own, so the running worker with this token may be in its way.
        Err(ConnectError::Refused(refusal)) if refusal.code == RefusalCode::Full => vec![
            Finding::passed(what, format!("{address} answers")),
            Finding::warning("token", refusal.message),
        ],
        Err(error @ ConnectError::Refused(_)) => {
            vec![Finding::failed(what, format!("{address}: {error}"))]
        }
        Err(error @ ConnectError::Unreachable(_)) => {
            let remedy = "start Hierophant, or correct `hierophant_ws_address`";
            return vec![Finding::failed(what, format!("{address}: {error}; {remedy}"))];
        }
    };
    findings.push(clock(&endpoints, &trust).await);
    findings
}

/// Connects with an identity of its own, so that a running worker is not displaced, and offers nothing, so that no job
/// is assigned.
async fn greet(
    config: &Config,
    endpoints: &Endpoints,
    trust: &Trust,
) -> Result<String, ConnectError> {
    let hello = Hello {
        protocol: ProtocolRange::OURS,
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: "doctor".to_owned(),
        worker_id: WorkerId::random(),
        instance: config.instance.clone(),
        token: config.token.clone(),
        local_secret: None,
        capabilities: Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: Vec::new(),
            modes: Vec::new(),
            backend: match config.backend {
                BackendChoice::Cpu => Backend::Cpu,
                BackendChoice::Cuda => Backend::Cuda,
                BackendChoice::Mock => Backend::Mock,
            },
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: Vec::new(),
            unavailable_reason: Some("only checks the connection".to_owned()),
            sharding: None,
        },
        held: Vec::new(),
    };
    link::greet(&endpoints.websocket, trust, hello).await
}

fn accepted_token(config: &Config) -> &'static str {
    match config.token {
        Some(_) => "accepted for a worker",
        None => "not set, and not required from this machine",
    }
}

async fn clock(endpoints: &Endpoints, trust: &Trust) -> Finding {
    match exchange(endpoints, trust).await {
        Ok(exchange) => exchange.judge(),
        Err(reason) => Finding::warning(
            "clock",
            format!(
                "not compared with Hierophant's ({reason}): compare `date -u` on both machines"
            ),
        ),
    }
}

/// A call for the time of another clock.
struct Exchange {
    /// Time on this clock before the call.
    asked: SystemTime,
    /// Time on the other clock.
    theirs: SystemTime,
    /// Time on this clock after the answer.
    answered: SystemTime,
}

/// Asks for a page that needs no token. Any answer serves, also one of a proxy.
async fn exchange(endpoints: &Endpoints, trust: &Trust) -> Result<Exchange, String> {
    let tls = trust.config().await.map_err(|error| format!("{error:#}"))?;
    let described = |error: reqwest::Error| format!("{:#}", anyhow::Error::new(error));
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(DATE_LIMIT)
        .use_preconfigured_tls(ClientConfig::clone(&tls))
        .build()
        .map_err(described)?;
    let asked = now();
    let page = format!("{}/health", endpoints.http);
    let response = client.get(page).send().await.map_err(described)?;
    let answered = now();
    let date = response.headers().typed_get::<Date>();
    let date = date.ok_or("its answer has no valid header `Date`")?;
    Ok(Exchange { asked, theirs: date.into(), answered })
}

#[allow(clippy::disallowed_methods, reason = "the wall clock itself is examined")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl Exchange {
    fn judge(&self) -> Finding {
        // The duration of the call is not a difference.
        let behind = self.theirs.duration_since(self.answered).unwrap_or_default();
        let ahead = self.asked.duration_since(self.theirs + DATE_PRECISION).unwrap_or_default();
        let (difference, direction) =
            if behind > ahead { (behind, "behind") } else { (ahead, "ahead of") };
        if difference <= CLOCK_TOLERANCE {
            let seconds = difference.as_secs() + DATE_PRECISION.as_secs();
            return Finding::passed("clock", format!("within {seconds} s of Hierophant's"));
        }
        Finding::warning(
            "clock",
            format!(
                "{} {direction} Hierophant's: times in the logs of both do not fit, and valid certificates may be \
                 refused; synchronise both by NTP, such as with `timedatectl set-ntp true`",
                humantime::format_duration(Duration::from_secs(difference.as_secs()))
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Verdict;

    /// The finding about another clock that shows `theirs` between 1000 s and 1003 s on this one.
    fn finding(theirs: u64) -> (Verdict, String) {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let exchange = Exchange { asked: at(1000), theirs: at(theirs), answered: at(1003) };
        let finding = exchange.judge();
        (finding.verdict, finding.text)
    }

    #[test]
    fn a_clock_that_differs_by_more_than_thirty_seconds_is_a_warning() {
        for theirs in [968, 998, 1000, 1003, 1033] {
            let (verdict, text) = finding(theirs);
            assert_eq!(verdict, Verdict::Passed, "{theirs}: {text}");
        }
        assert_eq!(finding(1001).1, "within 2 s of Hierophant's");
        let (verdict, text) = finding(967);
        assert_eq!(verdict, Verdict::Warning);
        assert!(text.starts_with("31s ahead of Hierophant's"), "{text}");
        let (verdict, text) = finding(1003 + 3600);
        assert_eq!(verdict, Verdict::Warning);
        assert!(text.starts_with("1h behind Hierophant's"), "{text}");
        assert!(text.contains("timedatectl set-ntp true"), "{text}");
    }
}
