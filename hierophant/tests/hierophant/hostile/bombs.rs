//! Messages and uploads that claim to be, or become, much more than was sent.

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use prost::Message;
use prost::encoding::{WireType, bytes, encode_key, encode_varint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::Fortress;
use crate::support::assert_code;

/// Default of `calls.max_message_bytes`.
const MAX_BYTES: usize = 256 << 10;

/// Most bytes that one block of a zstd frame may become.
const BLOCK: u32 = 128 << 10;

/// A zstd frame of these bytes and then `blocks` blocks of zeros, each of which takes four bytes here and 128 KiB
/// unpacked.
fn zstd_bomb(beginning: &[u8], blocks: usize) -> Vec<u8> {
    let header = |kind: u32, size: u32| ((size << 3) | (kind << 1)).to_le_bytes()[..3].to_vec();
    // Magic; no size, no checksum; a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    frame.extend(header(0, u32::try_from(beginning.len()).expect("short")));
    frame.extend_from_slice(beginning);
    let zeros = [header(1, BLOCK), vec![0]].concat();
    frame.extend(zeros.repeat(blocks));
    // The last block: none of this.
    frame.extend([1, 0, 0]);
    frame
}

/// A frame whose header says that so large a window (as a power of two) is needed.
fn zstd_window(log: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3];
    frame.extend(zstd_bomb(b"", 100).split_off(6));
    frame
}

#[test]
fn the_bomb_is_one() {
    let bomb = zstd_bomb(b"begins", 1000);
    assert!(bomb.len() < 5000);
    let unpacked = zstd::decode_all(bomb.as_slice()).expect("a valid frame");
    assert!(unpacked.starts_with(b"begins\0") && unpacked.len() == 6 + 1000 * BLOCK as usize);
}

#[tokio::test]
async fn a_program_that_unpacks_to_a_terabyte_costs_nothing() {
    let fortress = Fortress::start().await;
    let terabyte = (1_usize << 40) / BLOCK as usize;
    let elf = [&u64::MAX.to_le_bytes(), b"\x7fELF and a terabyte of zeros".as_slice()].concat();
    fortress
        .besieged(async {
            let mut client = fortress.client().await;
            for (what, upload, looks_like_one) in [
                ("a terabyte behind an ELF's first bytes", zstd_bomb(&elf, terabyte), true),
                ("a terabyte of zeros", zstd_bomb(b"", terabyte), false),
                ("a window of 2 GiB", zstd_window(31), false),
                ("a window of a terabyte", zstd_window(40), false),
            ] {
                let program_uri = client.upload(ArtifactType::Program, &upload).await;
                let vk_hash = vec![9; 32];
                let body =
                    pb::CreateProgramBody { nonce: 0, vk_hash, vk: vec![1; 130], program_uri };
                let request = client.envelope(body.encode_to_vec());
                let answer = client.network.create_program(request).await;
                if looks_like_one {
                    answer.expect(what);
                } else {
                    assert_code(answer, Code::InvalidArgument, "program_uri");
                }
            }
        })
        .await;
}

/// The status of a gRPC call with exactly these bytes as its body; `None` if there is no answer.
async fn call(fortress: &Fortress, path: &str, body: Vec<u8>) -> Option<i32> {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("builds");
    let url = format!("http://{}{path}", fortress.grpc);
    let request = client.post(url).header("content-type", "application/grpc").body(body);
    let mut answer = request.send().await.ok()?;
    while let Ok(Some(_)) = answer.chunk().await {}
    answer.headers().get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A gRPC message, with the length that it claims.
fn framed(flag: u8, claimed: u32, message: &[u8]) -> Vec<u8> {
    [&[flag], claimed.to_be_bytes().as_slice(), message].concat()
}

fn whole(message: &[u8]) -> Vec<u8> {
    framed(0, u32::try_from(message.len()).expect("short"), message)
}

#[tokio::test]
async fn protobuf_that_claims_or_nests_without_end_is_an_invalid_argument() {
    let fortress = Fortress::start().await;
    let field = |tag: u32, length: u64| {
        let mut bytes = Vec::new();
        encode_key(tag, WireType::LengthDelimited, &mut bytes);
        encode_varint(length, &mut bytes);
        bytes
    };
    let mut groups = Vec::new();
    for _ in 0..100_000 {
        encode_key(100, WireType::StartGroup, &mut groups);
    }
    let mut unknown = Vec::new();
    for tag in 0..2_000 {
        bytes::encode(1000 + tag, &vec![0; 100], &mut unknown);
    }
    // Two bytes each here, and a list entry each there.
    let addresses = [0x82, 0x01, 0x00].repeat(80_000);
    let signed = |body: Vec<u8>| {
        pb::SignedRequest { format: 1, signature: vec![1; 65], body }.encode_to_vec()
    };
    let cases = [
        ("a body of 2 GiB", field(3, 1 << 31)),
        ("a body of 2^63 bytes", field(3, 1 << 63)),
        ("a body of 2^64 - 1 bytes", field(3, u64::MAX)),
        ("a length of eleven bytes", [vec![0x1a], vec![0xff; 11]].concat()),
        ("groups in groups", groups.clone()),
        ("a group that ends without beginning", vec![0xa4, 0x06]),
        ("a tag of 0", vec![0x02, 0x00]),
        ("an invalid wire type", vec![0x07]),
        ("2,000 unknown fields", unknown.clone()),
        ("a body that claims 2 GiB inside", signed(field(2, 1 << 31))),
        ("a body of groups in groups", signed(groups)),
        ("a body of unknown fields", signed(unknown)),
        ("80,000 addresses", signed(addresses)),
        ("a message of a megabyte", vec![0; 1 << 20]),
    ];
    fortress
        .besieged(async {
            for (what, message) in cases {
                for method in ["RequestProof", "CreateProgram", "CancelRequest"] {
                    let path = format!("/network.ProverNetwork/{method}");
                    let status = call(&fortress, &path, whole(&message)).await.expect(what);
                    // What decodes fails for its signature; what is too large is not decoded.
                    let refusals = if message.len() > MAX_BYTES {
                        vec![Code::OutOfRange as i32]
                    } else {
                        vec![Code::InvalidArgument as i32, Code::Unauthenticated as i32]
                    };
                    assert!(refusals.contains(&status), "{method}, {what}: {status}");
                }
            }
        })
        .await;
}

#[tokio::test]
async fn a_grpc_message_that_claims_4_gib_is_refused_before_it_comes() {
    let fortress = Fortress::start().await;
    let path = "/network.ProverNetwork/GetNonce";
    let cases = [
        ("4 GiB", framed(0, u32::MAX, b"x")),
        ("4 GiB, compressed", framed(1, u32::MAX, b"x")),
        ("compressed with nothing", framed(1, 1, b"x")),
        ("another flag", framed(7, 1, b"x")),
        ("64 MiB that are sent", framed(0, 64 << 20, &vec![0; 64 << 20])),
    ];
    fortress
        .besieged(async {
            for (what, body) in cases {
                // A stream that is reset while we still write may lose the answer.
                let status = call(&fortress, path, body).await;
                assert_ne!(status, Some(Code::Ok as i32), "{what}");
            }
            // Many at once, of which each has sent a part of what it claims.
            let mut sockets = Vec::new();
            for _ in 0..200 {
                let mut socket =
                    tokio::net::TcpStream::connect(fortress.grpc).await.expect("connects");
                socket.write_all(super::streams::GREETING).await.expect("writes");
                let head = super::streams::headers(1, path, true);
                socket.write_all(&head).await.expect("writes");
                let data = super::streams::frame(0, 0, 1, &framed(0, 4 << 20, &vec![0; 10_000]));
                socket.write_all(&data).await.expect("writes");
                sockets.push(socket);
            }
            fortress.answers().await;
            for mut socket in sockets {
                let mut part = [0; 100];
                let heard = socket.read(&mut part).await.expect("its settings");
                assert_ne!(heard, 0);
            }
        })
        .await;
}
