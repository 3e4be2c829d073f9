//! WebSocket frames by hand.

use std::time::Duration;

use network_lib::codec::{MAX_FRAME_BYTES, encode};
use network_lib::ids::LeaseId;
use network_lib::wire::{FromWorker, WEBSOCKET_PATH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Fortress, TOKEN};
use crate::support::hello;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const PING: u8 = 0x9;
const FINAL: u8 = 0x80;

/// A connection that has been upgraded, and speaks as no library would.
async fn upgraded(fortress: &Fortress) -> TcpStream {
    let mut socket = TcpStream::connect(fortress.http).await.expect("connects");
    let host = fortress.http;
    let request = format!(
        "GET {WEBSOCKET_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    socket
}

/// One that has been welcomed.
async fn welcomed(fortress: &Fortress) -> TcpStream {
    let mut socket = upgraded(fortress).await;
    let mut hello = hello();
    hello.token = Some(TOKEN.into());
    let text = encode(&FromWorker::Hello(hello));
    socket.write_all(&frame(FINAL | TEXT, text.as_bytes())).await.expect("writes");
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("welcome") {
        heard.push(socket.read_u8().await.expect("a welcome"));
    }
    socket
}

/// A frame with a mask of zeros, which leaves the bytes as they are.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).expect("small")),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).expect("short").to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends these bytes repeatedly until the other side ends the connection; `false` if it does not within `times`
/// repetitions and some seconds.
async fn ends(mut socket: TcpStream, bytes: &[u8], times: u32) -> bool {
    let (mut reading, mut writing) = socket.split();
    let sending = async {
        for _ in 0..times {
            if writing.write_all(bytes).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let hearing = async {
        let mut part = [0; 4096];
        while let Ok(1..) = reading.read(&mut part).await {}
    };
    let both = async {
        tokio::select! { () = sending => {} () = hearing => {} }
    };
    timeout(Duration::from_secs(20), both).await.is_ok()
}

#[tokio::test]
async fn frames_that_break_the_rules_end_their_connection() {
    let fortress = Fortress::start().await;
    let claims =
        |bytes: u64| [&[FINAL | TEXT, 0xff], bytes.to_be_bytes().as_slice(), &[0; 4]].concat();
    let cases = [
        ("without a mask", b"\x81\x05hello".to_vec()),
        ("with a reserved bit", frame(FINAL | 0x40 | TEXT, b"{}")),
        ("of no known kind", frame(FINAL | 0x3, b"{}")),
        ("a control frame of no known kind", frame(FINAL | 0xb, b"")),
        ("a ping of 126 bytes", frame(FINAL | PING, &[0; 126])),
        ("a ping in parts", frame(PING, b"x")),
        ("a part of nothing", frame(FINAL, b"x")),
        ("two beginnings", [frame(TEXT, b"x"), frame(FINAL | TEXT, b"x")].concat()),
        ("invalid text", frame(FINAL | TEXT, &[0xff; 10])),
        ("a claim of 2^63 bytes", claims(1 << 63)),
        ("a claim of 2^64 - 1 bytes", claims(u64::MAX)),
        ("a byte more than allowed", claims(MAX_FRAME_BYTES as u64 + 1)),
        ("binary", frame(FINAL | BINARY, &[0; 100])),
        ("a close frame of one byte", frame(FINAL | 0x8, b"x")),
    ];
    fortress
        .besieged(async {
            for (what, bytes) in cases {
                assert!(ends(upgraded(&fortress).await, &bytes, 1).await, "{what}, by a stranger");
                assert!(ends(welcomed(&fortress).await, &bytes, 1).await, "{what}, by a worker");
            }
        })
        .await;
}

#[tokio::test]
async fn a_message_in_parts_without_end_is_cut_at_the_limit() {
    let fortress = Fortress::start().await;
    fortress
        .besieged(async {
            for size in [1, 1000, 100_000] {
                let part = frame(0, &vec![b'x'; size]);
                for mut socket in [upgraded(&fortress).await, welcomed(&fortress).await] {
                    socket.write_all(&frame(TEXT, b"{")).await.expect("writes");
                    assert!(ends(socket, &part, 400_000).await, "parts of {size}");
                }
            }
        })
        .await;
}

#[tokio::test]
async fn a_flood_of_pings_is_cut() {
    let fortress = Fortress::start().await;
    let ping = frame(FINAL | PING, &[7; 125]);
    fortress
        .besieged(async {
            // A stranger exceeds the time for its handshake; a worker exceeds the rate of frames.
            assert!(ends(upgraded(&fortress).await, &ping, 400_000).await, "by a stranger");
            assert!(ends(welcomed(&fortress).await, &ping, 400_000).await, "by a worker");
        })
        .await;
}

/// The longest lists that are allowed, of attempts that do not exist, as often as allowed.
#[tokio::test]
async fn heartbeats_full_of_made_up_attempts_stall_nobody() {
    let fortress = Fortress::start().await;
    let heartbeat = |round: u64| {
        let lease = |n: u64| LeaseId(((u128::from(round) << 64) | u128::from(n)).to_be_bytes());
        let held: Vec<LeaseId> = (0..68).map(lease).collect();
        let text = encode(&FromWorker::Heartbeat { held, gpus: vec![] });
        frame(FINAL | TEXT, text.as_bytes())
    };
    let flood = async || {
        let mut socket = welcomed(&fortress).await;
        let (mut reading, mut writing) = socket.split();
        let sending = async {
            for round in 0..1500 {
                if writing.write_all(&heartbeat(round)).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(6)).await;
            }
        };
        let hearing = async {
            let mut part = [0; 4096];
            while let Ok(1..) = reading.read(&mut part).await {}
        };
        tokio::select! { () = sending => {} () = hearing => {} }
    };
    fortress
        .besieged(async {
            futures_util::future::join_all((0..8).map(|_| flood())).await;
        })
        .await;
}

/// Who never reads is sent nothing that would have to be kept.
#[tokio::test]
async fn pings_of_someone_who_never_reads_take_no_memory() {
    let fortress = Fortress::start().await;
    let ping = frame(FINAL | PING, &[7; 125]);
    fortress
        .besieged(async {
            let mut socket = upgraded(&fortress).await;
            let sending = async { while socket.write_all(&ping).await.is_ok() {} };
            let _ = timeout(Duration::from_secs(15), sending).await;
        })
        .await;
}
