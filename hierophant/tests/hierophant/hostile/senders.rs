//! Senders that take their time, and too many of them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hierophant_proto::artifact::ArtifactType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, sleep, timeout};

use super::{Fortress, codes};
use crate::support::{LIMIT, core_proof, eventually, unix_now};

/// A second instead of a minute.
const IMPATIENT: &[(&str, &str)] =
    &[("HIEROPHANT_LIMITS__UPLOAD_WINDOW", "1s"), ("HIEROPHANT_LIMITS__MIN_UPLOAD_RATE", "2000")];

/// Begins an upload of a megabyte.
async fn begin(fortress: &Fortress, ticket: &str) -> TcpStream {
    let path = ticket.strip_prefix(&fortress.url("")).expect("here");
    let mut socket = TcpStream::connect(fortress.http).await.expect("connects");
    let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("writes");
    socket
}

/// Sends a few bytes every tenth of a second until there is an answer.
async fn trickle(mut socket: TcpStream, bytes: &[u8]) -> String {
    let (mut reading, mut writing) = socket.split();
    let mut ticks = interval(Duration::from_millis(100));
    let sending = async {
        loop {
            ticks.tick().await;
            if writing.write_all(bytes).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = vec![0; 4096];
    let length = tokio::select! {
        () = sending => unreachable!("it never stops sending"),
        length = timeout(LIMIT, reading.read(&mut answer)) => length,
    };
    let length = length.expect("an answer in time").unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_hundred_senders_of_ten_bytes_a_second_are_cut_and_leave_nothing() {
    let fortress = Fortress::start_with(IMPATIENT).await;
    let mut client = fortress.client().await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
        sockets.push(begin(&fortress, &ticket).await);
    }
    let answers = fortress
        .besieged(async {
            let answers = join_all(sockets.into_iter().map(|socket| trickle(socket, b"x"))).await;
            eventually("no half-written file", async || fortress.half_written() == 0).await;
            answers
        })
        .await;
    for answer in answers {
        assert_eq!(codes(&answer), [408], "{answer}");
        assert!(
            answer.contains("connection: close") && answer.contains("min_upload_rate"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_slow_sender_above_the_floor_is_heard_to_its_end() {
    let fortress = Fortress::start_with(IMPATIENT).await;
    let mut client = fortress.client().await;
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let path = ticket.strip_prefix(&fortress.url("")).expect("here");
    let mut socket = TcpStream::connect(fortress.http).await.expect("connects");
    let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("writes");
    let started = Instant::now();
    for _ in 0..20 {
        socket.write_all(&[7; 1000]).await.expect("it is heard");
        sleep(Duration::from_millis(200)).await;
    }
    assert!(started.elapsed() > Duration::from_secs(3), "several windows");
    let mut answer = [0; 12];
    timeout(LIMIT, socket.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn more_uploads_than_allowed_are_told_to_try_again_and_keep_no_proof_out() {
    let limit = [
        ("HIEROPHANT_LIMITS__MAX_UPLOADS", "3"),
        ("HIEROPHANT_LIMITS__MAX_CONNECTIONS_PER_ADDRESS", "0"),
    ];
    let fortress = Fortress::start_with(&limit).await;
    let mut client = fortress.client().await;
    let ask = client.ready_to_ask(&unix_now().to_le_bytes()).await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut open = Vec::new();
    for _ in 0..3 {
        let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
        let mut sender = begin(&fortress, &ticket).await;
        sender.write_all(b"x").await.expect("writes");
        open.push(sender);
    }
    eventually("three uploads have begun", async || fortress.half_written() == 3).await;
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let refused = client.put(&ticket, "bytes").await;
    assert_eq!(refused.status(), 504);
    assert_eq!(refused.headers()["connection"], "close");
    // A Contemplant has places of its own.
    let mut worker = fortress.contemplant().await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, hierophant_proto::network::FulfillmentStatus::Fulfilled).await;
    drop(open.pop());
    eventually("there is room again", async || client.put(&ticket, "bytes").await.status() == 200)
        .await;
}

/// Heads of requests that come byte by byte: however many connections they hold, others are served.
#[tokio::test]
async fn five_hundred_heads_byte_by_byte_keep_nobody_waiting() {
    let fortress = Fortress::start().await;
    fortress
        .besieged(async {
            let mut sockets = Vec::new();
            for _ in 0..500 {
                sockets.push(TcpStream::connect(fortress.http).await.expect("connects"));
            }
            for byte in b"GET /ready HTTP/1.1\r\nX: " {
                for socket in &mut sockets {
                    // It may have been cut by now.
                    let _ = socket.write_all(&[*byte]).await;
                }
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
}
