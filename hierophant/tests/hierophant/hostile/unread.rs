//! Peers that ask and do not read: HTTP/2 windows that stay closed, or open by one byte.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::streams::{frame, headers};
use super::{Fortress, MAX_GROWTH};
use crate::support::LIMIT;
use crate::support::raw::connect_from;

/// A small budget and little patience. A quarter of the budget is for each address.
const TIGHT: &[(&str, &str)] = &[
    ("HIEROPHANT_LIMITS__MAX_ANSWER_BYTES", "33554432"),
    ("HIEROPHANT_LIMITS__UNREAD_TIME", "3s"),
    ("HIEROPHANT_LIMITS__STALL_TIME", "3s"),
    // A connection whose calls were all refused is idle.
    ("HIEROPHANT_LIMITS__IDLE_TIME", "3s"),
];

/// That budget in MiB. Without one, the pieces of the downloads alone would take 640 MiB.
const BUDGET: u64 = 32;

/// Addresses that attack, and connections from each.
const SOURCES: u8 = 4;
const CONNECTIONS: u8 = 20;

/// Streams of each connection: as many as are allowed on the HTTP port, and more on the other.
const STREAMS: u32 = 32;
const CALLS: u32 = 100;

const SETTINGS: u8 = 4;
const DATA: u8 = 0;

/// How a client begins whose windows for answers have this many bytes.
fn greeting(window: u32) -> Vec<u8> {
    let setting = [&[0, 4], window.to_be_bytes().as_slice()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &setting)].concat()
}

/// `GET` of a path over HTTP/2.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).expect("short");
    let fields = [&[0x82, 0x86, 0x04, length], path.as_bytes(), &[0x01, 0x01, b'h']].concat();
    frame(1, 5, stream, &fields)
}

/// A gRPC call with this message.
fn call(stream: u32, method: &str, message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let body = [&[0], length.as_slice(), &message].concat();
    let path = format!("/network.ProverNetwork/{method}");
    [headers(stream, &path, false), frame(DATA, 1, stream, &body)].concat()
}

/// Asks over one connection and reads nothing of any answer; returns once the connection is cut.
async fn ask_and_wait(last: u8, to: SocketAddr, window: u32, questions: Vec<u8>) {
    let mut socket: TcpStream = connect_from(last, to).await;
    socket.write_all(&greeting(window)).await.expect("writes");
    let _ = socket.write_all(&questions).await;
    let mut part = [0; 16 * 1024];
    let reading = async { while let Ok(1..) = socket.read(&mut part).await {} };
    timeout(LIMIT, reading).await.expect("is cut in time");
}

#[tokio::test]
async fn thousands_of_downloads_that_are_not_read_cost_a_bounded_budget() {
    let fortress = Fortress::start_with(TIGHT).await;
    let mut client = fortress.client().await;
    // Bytes that do not compress, so that each stream would pin a large piece.
    let noise: Vec<u8> = (0..1 << 16).flat_map(|_| rand::random::<[u8; 16]>()).collect();
    let uri = client.upload(ArtifactType::Program, &noise).await;
    let path = format!("/artifacts{}", uri.rsplit_once("/artifacts").expect("a path").1);
    fortress
        .besieged_within(MAX_GROWTH + BUDGET, async {
            for window in [0, 1] {
                let peers = (0..SOURCES * CONNECTIONS).map(|number| {
                    let questions = (0..STREAMS).flat_map(|stream| get(2 * stream + 1, &path));
                    let questions = questions.collect();
                    ask_and_wait(2 + number % SOURCES, fortress.http, window, questions)
                });
                join_all(peers).await;
            }
        })
        .await;
    let figures = reqwest::get(fortress.url("/metrics")).await.expect("answers");
    let figures = figures.text().await.expect("text");
    for series in [
        "hierophant_connections_refused_total{reason=\"answers\"}",
        "hierophant_connections_cut_total{reason=\"stalled\"}",
    ] {
        let line = figures.lines().find_map(|line| line.strip_prefix(series));
        let count: f64 = line.expect("a series").trim().parse().expect("a number");
        assert!(count >= 1.0, "{series}: {count}");
    }
    // One that reads gets all of it.
    let answer = client.http.get(uri).send().await.expect("answers");
    assert_eq!(answer.bytes().await.expect("whole"), noise);
}

#[tokio::test]
async fn thousands_of_calls_whose_answers_are_not_read_cost_a_bounded_budget() {
    let fortress = Fortress::start_with(TIGHT).await;
    let mut client = fortress.client().await;
    client.register_key([9; 32], vec![7; 64 * 1024]).await;
    let vk_hash = vec![9; 32];
    fortress
        .besieged_within(MAX_GROWTH + BUDGET, async {
            for window in [0, 1] {
                let peers = (0..SOURCES * CONNECTIONS).map(|number| {
                    let message = pb::GetProgramRequest { vk_hash: vk_hash.clone() };
                    let questions =
                        (0..CALLS).flat_map(|stream| call(2 * stream + 1, "GetProgram", &message));
                    let questions = questions.collect();
                    ask_and_wait(2 + number % SOURCES, fortress.grpc, window, questions)
                });
                join_all(peers).await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_has_less_time_than_one_that_has_begun() {
    let short = &[("HIEROPHANT_LIMITS__UNREAD_TIME", "500ms")];
    let fortress = Fortress::start_with(short).await;
    let begun = Instant::now();
    ask_and_wait(2, fortress.http, 0, get(1, "/")).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "after `stall_time` only");
}
