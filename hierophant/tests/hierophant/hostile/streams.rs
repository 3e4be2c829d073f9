//! HTTP/2 frames by hand: streams that are reset as soon as they are opened, and headers without end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Fortress;

/// How a client begins: the preface and its settings, all as they are by default.
pub(super) const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

/// Kinds of frames that are sent in numbers.
const TIMES: u32 = 50_000;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The beginning of a gRPC call, with whatever follows its header.
pub(super) fn headers(stream: u32, path: &str, ended: bool) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    // POST, http; path, host and content type as new words for the table's names.
    let fields = [
        vec![0x83, 0x86, 0x04],
        text(path),
        vec![0x01],
        text("h"),
        vec![0x0f, 0x10],
        text("application/grpc"),
    ];
    frame(HEADERS, if ended { 4 } else { 0 }, stream, &fields.concat())
}

/// Sends frames until the other side ends the connection, and says after how many that was noticed.
async fn flood(fortress: &Fortress, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut socket = TcpStream::connect(fortress.grpc).await.expect("connects");
    socket.write_all(GREETING).await.expect("writes");
    let (mut reading, mut writing) = socket.split();
    let mut ended = None;
    let sending = async {
        for number in 0..TIMES {
            if writing.write_all(&next(number)).await.is_err() {
                return Some(number);
            }
        }
        None
    };
    let hearing = async {
        let mut part = [0; 4096];
        while let Ok(1..) = reading.read(&mut part).await {}
    };
    let both = async {
        tokio::select! {
            sent = sending => ended = sent,
            () = hearing => ended = Some(0),
        }
    };
    timeout(Duration::from_secs(60), both).await.expect("it is read or ended");
    ended
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_alone() {
    let fortress = Fortress::start().await;
    let path = "/network.ProverNetwork/GetNonce";
    fortress
        .besieged(async {
            let ended = flood(&fortress, |number| {
                let stream = number * 2 + 1;
                [headers(stream, path, true), frame(RESET, 0, stream, &8_u32.to_be_bytes())]
                    .concat()
            })
            .await;
            assert!(ended.is_some(), "it never ends");
        })
        .await;
}

#[tokio::test]
async fn headers_that_go_on_for_ever_end_their_connection() {
    let fortress = Fortress::start().await;
    fortress
        .besieged(async {
            let ended = flood(&fortress, |number| match number {
                0 => headers(1, "/network.ProverNetwork/GetNonce", false),
                // A header of a name and a value, again and again.
                _ => frame(
                    CONTINUATION,
                    0,
                    1,
                    &[&[0x00, 1, b'x', 100], [b'y'; 100].as_slice()].concat().repeat(100),
                ),
            })
            .await;
            assert!(ended.is_some(), "it never ends");
        })
        .await;
}

#[tokio::test]
async fn pings_and_settings_without_end_are_answered_one_by_one() {
    let fortress = Fortress::start().await;
    fortress
        .besieged(async {
            for kind in [PING, SETTINGS] {
                let payload = if kind == PING { vec![0; 8] } else { vec![] };
                flood(&fortress, |_| frame(kind, 0, 0, &payload)).await;
            }
        })
        .await;
}

#[tokio::test]
async fn frames_that_no_client_sends_end_their_connection() {
    let fortress = Fortress::start().await;
    let cases = [
        ("a frame of 16 MiB", [&[0xff; 3], [0, 0, 0, 0, 0, 1].as_slice()].concat()),
        ("data without a call", frame(0, 0, 1, b"x")),
        ("a header on stream 0", headers(0, "/", true)),
        ("a header on an even stream", headers(2, "/", true)),
        ("an invalid table index", frame(HEADERS, 4, 1, &[0xff, 0xff, 0xff, 0x7f])),
        ("settings of a wrong length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a window of 0", frame(8, 0, 0, &[0; 4])),
    ];
    fortress
        .besieged(async {
            for (what, bytes) in cases {
                let mut socket = TcpStream::connect(fortress.grpc).await.expect("connects");
                socket.write_all(&[GREETING, &bytes].concat()).await.expect("writes");
                let hearing = async {
                    let mut part = [0; 4096];
                    while let Ok(1..) = socket.read(&mut part).await {}
                };
                timeout(Duration::from_secs(10), hearing).await.expect(what);
            }
        })
        .await;
}
