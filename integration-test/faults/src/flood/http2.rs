//! HTTP/2 frames by hand, for peers that break its habits.

use hierophant_proto::network as pb;
use prost::Message;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

/// Flag of the last frame of a request.
const END_STREAM: u8 = 1;

/// Flag of the last frame of a head.
const END_HEADERS: u8 = 4;

/// The beginning of a connection whose windows for answers have this many bytes.
pub(super) fn greeting(window: u32) -> Vec<u8> {
    let setting = [&[0, 4], window.to_be_bytes().as_slice()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &setting)].concat()
}

/// A request for a path.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    // GET and http of the static table, and words for its names of path and authority.
    let fields = [vec![0x82, 0x86, 0x04], word(path), vec![0x01], word("h")].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
}

/// A call for a program and its key.
pub(super) fn program(stream: u32, vk_hash: &[u8]) -> Vec<u8> {
    let message = pb::GetProgramRequest { vk_hash: vk_hash.to_vec() }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let body = [&[0], length.as_slice(), &message].concat();
    let fields = [
        vec![0x83, 0x86, 0x04],
        word("/network.ProverNetwork/GetProgram"),
        vec![0x01],
        word("h"),
        vec![0x0f, 0x10],
        word("application/grpc"),
    ];
    [frame(HEADERS, END_HEADERS, stream, &fields.concat()), frame(DATA, END_STREAM, stream, &body)]
        .concat()
}

/// A word without compression.
fn word(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length], text.as_bytes()].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
