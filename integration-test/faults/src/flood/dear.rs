//! Floods of calls that cost the caller little and whose answers are dear: lists, readiness checks, heads of
//! artifacts, calls that are reset.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use hierophant_proto::network as pb;
use network_lib::task;
use pb::prover_network_client::ProverNetworkClient;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use super::{ANSWER_LIMIT, CALLS_AT_ONCE, CHANNELS, FULL_FORCE, Flood, known_program, source};

/// Time after which a caller resets its call, or hangs up.
const PATIENCE: Duration = Duration::from_millis(2);

/// Pause after a refusal: refusing is what a server does fastest.
const PAUSE: Duration = Duration::from_millis(20);

/// Begins the flood; it goes on in tasks.
pub(super) async fn begin(flood: Flood, grpc: SocketAddr, http: SocketAddr) -> Result<()> {
    let artifact = match flood {
        Flood::Heads => format!("http://{http}{}", known_program().await?.0),
        _ => String::new(),
    };
    let begun = Arc::new(AtomicU32::new(0));
    for number in 0..CHANNELS {
        for place in 0..CALLS_AT_ONCE {
            let begun = Arc::clone(&begun);
            let first = move || {
                begun.fetch_add(1, Ordering::Relaxed);
            };
            match flood {
                Flood::Lists => {
                    task::spawn("lists", lists(channel(grpc, number)?, first));
                }
                Flood::Resets => {
                    task::spawn("resets", resets(channel(grpc, number)?, first));
                }
                Flood::Ready => {
                    let (url, hangs_up) = (format!("http://{http}/ready"), place % 2 == 0);
                    task::spawn("ready", pages(web(number)?, url, false, hangs_up, first));
                }
                Flood::Heads => {
                    let url = artifact.clone();
                    task::spawn("heads", pages(web(number)?, url, true, false, first));
                }
                _ => anyhow::bail!("{flood} is not a flood of dear calls"),
            }
        }
    }
    while begun.load(Ordering::Relaxed) < CHANNELS * CALLS_AT_ONCE {
        sleep(Duration::from_millis(20)).await;
    }
    println!("{FULL_FORCE}");
    Ok(())
}

fn channel(grpc: SocketAddr, number: u32) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}"))?;
    let endpoint = endpoint.local_address(Some(IpAddr::V4(source(number))));
    Ok(endpoint.timeout(ANSWER_LIMIT).connect_lazy())
}

fn web(number: u32) -> Result<reqwest::Client> {
    let web = reqwest::Client::builder().local_address(IpAddr::V4(source(number)));
    Ok(web.timeout(ANSWER_LIMIT).build()?)
}

/// Lists that look at many requests and find few or none, page by page.
async fn lists(channel: Channel, first: impl FnOnce()) {
    let mut client = ProverNetworkClient::new(channel);
    let mut first = Some(first);
    for number in 0_u32.. {
        let filter = match number % 4 {
            0 => pb::GetFilteredProofRequestsRequest {
                version: Some("sp1-v9.9.9".into()),
                ..Default::default()
            },
            1 => pb::GetFilteredProofRequestsRequest {
                vk_hash: Some(vec![9; 32]),
                ..Default::default()
            },
            2 => pb::GetFilteredProofRequestsRequest {
                page: Some(number % 11),
                ..Default::default()
            },
            _ => pb::GetFilteredProofRequestsRequest { page: Some(u32::MAX), ..Default::default() },
        };
        let filter = pb::GetFilteredProofRequestsRequest { limit: Some(1000), ..filter };
        let answer = client.get_filtered_proof_requests(filter).await;
        if let Some(first) = first.take() {
            first();
        }
        if answer.is_err() {
            sleep(PAUSE).await;
        }
    }
}

/// Lists and status calls that are reset before their answer.
async fn resets(channel: Channel, first: impl FnOnce()) {
    let mut client = ProverNetworkClient::new(channel);
    first();
    for number in 0_u32.. {
        let mut id = vec![0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let filter = pb::GetFilteredProofRequestsRequest {
            version: Some("sp1-v9.9.9".into()),
            ..Default::default()
        };
        let _ = timeout(PATIENCE, client.get_filtered_proof_requests(filter)).await;
        let status = pb::GetProofRequestStatusRequest { request_id: id };
        let _ = timeout(PATIENCE, client.get_proof_request_status(status)).await;
    }
}

/// One page again and again; callers without patience hang up.
async fn pages(
    web: reqwest::Client,
    url: String,
    is_head: bool,
    hangs_up: bool,
    first: impl FnOnce(),
) {
    let limit = if hangs_up { PATIENCE } else { ANSWER_LIMIT };
    let mut first = Some(first);
    loop {
        let call = if is_head { web.head(&url) } else { web.get(&url) };
        let answered = timeout(limit, call.send()).await;
        if let Some(first) = first.take() {
            first();
        }
        if !matches!(answered, Ok(Ok(_))) {
            sleep(PAUSE).await;
        }
    }
}
