//! Single scenarios with a healthy Hierophant: findings of earlier seeds, reproduced.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hierophant_proto::artifact::ArtifactType;
use network_lib::codec;
use network_lib::wire::FromWorker;
use rand::SeedableRng;
use rand::rngs::StdRng;
use test_peers::{Client, hello};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

use super::machine::Machine;
use super::network::{self, HIEROPHANT, HTTP};
use super::story::Story;
use super::world;

/// Runs a peer until its scenario ends; it receives Hierophant's machine.
fn beside_hierophant<F: Future<Output = ()> + 'static>(peer: impl FnOnce(Rc<Machine>) -> F) {
    let mut rng = StdRng::seed_from_u64(1);
    let mut sim = world::builder(&mut rng).build();
    let machine = Rc::new(Machine::new(&mut rng, Story::default()));
    let peer = peer(Rc::clone(&machine));
    sim.host(HIEROPHANT, move || {
        let machine = Rc::clone(&machine);
        async move { machine.run().await }
    });
    sim.client("peer", async move {
        sleep(Duration::from_secs(1)).await;
        peer.await;
        Ok(())
    });
    if let Err(error) = sim.run() {
        panic!("{error}");
    }
}

#[test]
fn a_handshake_that_comes_late_costs_the_connection_and_no_more() {
    beside_hierophant(|_| async {
        let stream = network::dial(HTTP).await.expect("connects");
        let url = "ws://hierophant:9010/ws";
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("upgrades");
        sleep(Duration::from_secs(11)).await;
        let hello = codec::encode(&FromWorker::Hello(hello()));
        drop(socket.send(Message::text(hello)).await);
        while let Some(Ok(message)) = socket.next().await {
            assert!(!message.is_text(), "an answer: {message:?}");
        }
    });
}

#[test]
fn an_upload_that_stands_still_is_given_up() {
    beside_hierophant(|machine| async move {
        let files = || std::fs::read_dir(machine.leftovers()).expect("is there").count();
        let mut client = Client::over(network::channel(), 7);
        let ticket = client.ticket(ArtifactType::Stdin).await;
        let id = ticket.artifact_uri.rsplit('/').next().expect("an id");
        let mut stream = network::dial(HTTP).await.expect("connects");
        let head = "HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n";
        let head = format!("PUT /artifacts/{id} {head}");
        stream.write_all(head.as_bytes()).await.expect("sends");
        for _ in 0..3 {
            stream.write_all(b"x").await.expect("sends");
            sleep(Duration::from_secs(50)).await;
            assert_eq!(files(), 1, "slow is not silent");
        }
        sleep(Duration::from_secs(15)).await;
        assert_eq!(files(), 0, "disconnected");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 408");
    });
}

#[test]
fn a_store_that_cannot_be_read_for_a_moment_ends_nothing() {
    beside_hierophant(|machine| async move {
        let mut client = Client::over(network::channel(), 7);
        machine.break_store(true);
        let refused = client.cancel(&[7; 32]).await.expect_err("nothing can be looked up");
        assert_eq!(refused.code(), Code::Unavailable);
        machine.break_store(false);
        let refused = client.cancel(&[7; 32]).await.expect_err("there is no such request");
        assert_eq!(refused.code(), Code::NotFound);
    });
}
