//! Uploads by strangers: to ids that everyone may know, in numbers, without a length, without a byte.

use std::net::SocketAddr;
use std::time::Duration;

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::raw::connect_from;
use crate::support::{Client, LIMIT, Network, eventually};

/// Begins a `PUT` from an address, and sends these bytes of its body.
async fn begin(last: u8, network: &Network, url: &str, length: &str, body: &[u8]) -> TcpStream {
    let mut socket = connect_from(last, network.http).await;
    let path = &url[url.rfind("/artifacts").expect("a path")..];
    let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\n{length}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("writes");
    socket.write_all(body).await.expect("writes");
    socket
}

/// The status code of the answer.
async fn code(socket: &mut TcpStream) -> u16 {
    let mut answer = vec![0; 4096];
    let count = timeout(LIMIT, socket.read(&mut answer)).await.expect("in time").expect("answers");
    let text = String::from_utf8_lossy(&answer[..count]);
    let code = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.unwrap_or_else(|| panic!("no answer: {text:?}")).parse().expect("a code")
}

/// Sends chunks until there is an answer; its status code, and how many bytes were sent.
async fn endless(socket: TcpStream) -> (u16, usize) {
    let (mut reading, mut writing) = socket.into_split();
    let chunk = [b"10000\r\n".as_slice(), &vec![7; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    let sending = async {
        while writing.write_all(&chunk).await.is_ok() {
            sent += 0x10000;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 4096];
    let count = tokio::select! {
        () = sending => unreachable!("it waits for the answer"),
        count = timeout(LIMIT, reading.read(&mut answer)) => count,
    };
    let count = count.expect("in time").expect("answers");
    let text = String::from_utf8_lossy(&answer[..count]).into_owned();
    (text[9..12].parse().expect("a code"), sent)
}

#[tokio::test]
async fn an_upload_to_a_filled_ticket_is_compared_and_not_received() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    client.register([1; 32]).await;
    // A stranger learns the program's id from a call without a signature.
    let ask = pb::GetProgramRequest { vk_hash: vec![1; 32] };
    let program = client.network.get_program(ask).await.expect("known").into_inner();
    let url = program.program.expect("a program").program_uri;
    let bytes = client.http.get(&url).send().await.expect("answers").bytes().await.expect("bytes");
    let files = network.files();

    // The client repeats an upload whose answer was lost.
    assert_eq!(client.put(&url, bytes.clone()).await.status(), 200);
    let other = vec![0; bytes.len()];
    assert_eq!(client.put(&url, other).await.status(), 409, "other bytes of this length");
    // Without a byte of its body, and without a place.
    let mut longer = begin(2, &network, &url, "Content-Length: 8000000000", b"").await;
    assert_eq!(code(&mut longer).await, 409);
    let mut chunked = begin(2, &network, &url, "Transfer-Encoding: chunked", b"").await;
    assert_eq!(code(&mut chunked).await, 411);

    // While a stranger sends the right length, slowly, nothing is written, and a second one is refused for now.
    let length = format!("Content-Length: {}", bytes.len());
    let mut slow = begin(2, &network, &url, &length, &bytes[..bytes.len() - 1]).await;
    eventually("the second upload to one ticket is refused as retryable", async || {
        let mut second = begin(3, &network, &url, &length, &bytes).await;
        code(&mut second).await == 504
    })
    .await;
    assert_eq!(network.files(), files, "nothing is staged");
    slow.write_all(&bytes[bytes.len() - 1..]).await.expect("writes");
    assert_eq!(code(&mut slow).await, 200, "compared to its end");
    assert_eq!(client.put(&url, bytes).await.status(), 200, "the ticket is free again");
}

#[tokio::test]
async fn one_address_has_a_quarter_of_the_places_for_uploads() {
    let network = Network::start_with(|config| {
        config.limits.max_uploads = 8.try_into().expect("not zero");
    })
    .await;
    let mut client = Client::connect(&network).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let url = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
        held.push(begin(2, &network, &url, "Content-Length: 100", b"x").await);
    }
    eventually("both uploads are in progress", async || {
        let url = client_ticket(&network).await;
        let mut third = begin(2, &network, &url, "Content-Length: 1", b"x").await;
        code(&mut third).await == 504
    })
    .await;
    client.upload(ArtifactType::Stdin, b"an upload from another address").await;
    drop(held);
}

/// The URL of a new ticket.
async fn client_ticket(network: &Network) -> String {
    let mut client = Client::connect(network).await;
    client.ticket(ArtifactType::Stdin).await.artifact_presigned_url
}

#[tokio::test]
async fn a_sender_that_sends_nothing_holds_no_place_and_is_cut_soon() {
    let network = Network::start_with(|config| {
        config.limits.max_uploads = 4.try_into().expect("not zero");
        config.limits.head_time = Duration::from_secs(1);
    })
    .await;
    let mut client = Client::connect(&network).await;
    let mut silent = Vec::new();
    for last in 2..10 {
        let url = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
        silent.push(begin(last, &network, &url, "Content-Length: 100", b"").await);
    }
    client.upload(ArtifactType::Stdin, b"beside them").await;
    for mut socket in silent {
        assert_eq!(code(&mut socket).await, 408);
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_while_it_streams_once_it_exceeds_the_storage() {
    let network = Network::start_with(|config| config.storage.max_bytes = Some(1 << 20)).await;
    let mut client = Client::connect(&network).await;
    let url = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let socket = begin(2, &network, &url, "Transfer-Encoding: chunked", b"").await;
    let (code, _) = endless(socket).await;
    assert_eq!(code, 504);
    eventually("nothing of it is left", async || network.files() == 0).await;
    client.upload(ArtifactType::Stdin, b"small").await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_while_it_streams_once_it_exceeds_the_owners_quota() {
    let network = Network::start_with(|config| config.quotas.stored_bytes = 1 << 20).await;
    let mut client = Client::connect(&network).await;
    let url = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let socket = begin(2, &network, &url, "Transfer-Encoding: chunked", b"").await;
    let (code, _) = endless(socket).await;
    assert_eq!(code, 413);
    eventually("nothing of it is left", async || network.files() == 0).await;
}

#[tokio::test]
async fn one_address_has_a_quarter_of_the_places_for_downloads() {
    let network = Network::start_with(|config| {
        config.limits.max_downloads = 8.try_into().expect("not zero");
    })
    .await;
    let mut client = Client::connect(&network).await;
    let uri = client.upload(ArtifactType::Stdin, &vec![7; 64 << 20]).await;
    let path = uri[uri.rfind("/artifacts").expect("a path")..].to_owned();
    let ask = async |last: u8, to: SocketAddr| {
        let mut socket = connect_from(last, to).await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("writes");
        let mut first = [0; 12];
        socket.read_exact(&mut first).await.expect("answers");
        (String::from_utf8_lossy(&first[9..]).into_owned(), socket)
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        let (code, socket) = ask(2, network.http).await;
        assert_eq!(code, "200");
        held.push(socket);
    }
    assert_eq!(ask(2, network.http).await.0, "504");
    assert_eq!(ask(3, network.http).await.0, "200", "another address");
}
