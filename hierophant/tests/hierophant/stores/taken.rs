//! How much an address has taken, in each store.

use alloy_primitives::Address;
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change, Millis, RequestRecord};
use network_lib::ids::ArtifactId;
use network_lib::job::Execution;

use super::Place;
use super::records::{artifact, bytes, execution, full_job, program, request, spec};

const ALICE: Address = Address::repeat_byte(0xaa);
const BOB: Address = Address::repeat_byte(0xbb);

pub(crate) async fn cycles_of_an_address_are_counted_since_a_time(place: Place) {
    let store = place.open().await;
    let mut lied = full_job(3);
    lied.execution = Some(Execution { cycles: u64::MAX, ..execution() });
    let (first, second) = (full_job(1), full_job(2));
    let of = |number, job| Change::Request(request(number, job), spec());
    let joined = RequestRecord { requester: BOB, ..request(4, &first) };
    let changes = [
        Change::Job(first.clone()),
        of(1, &first),
        Change::Request(joined, spec()),
        Change::Job(second.clone()),
        of(2, &second),
        Change::Job(lied.clone()),
        of(3, &lied),
    ];
    store.commit(&changes).await.expect("commits");
    let cycles = async |who, since, now| {
        store.cycles_executed(who, Millis(since), Millis(now)).await.expect("reads")
    };
    let each = execution().cycles;
    assert_eq!(cycles(ALICE, 0, 20).await, 2 * each);
    assert_eq!(cycles(ALICE, 10, 20).await, each);
    assert_eq!(cycles(ALICE, 0, 100).await, 2 * each + 10_000_000_000_000, "a lie is capped");
    assert_eq!(cycles(BOB, 0, 100).await, 0, "who joins has made nothing");
}

pub(crate) async fn tickets_bytes_and_programs_are_counted_by_owner(place: Place) {
    let store = place.open().await;
    let upload = |number, kind, owner| ArtifactRecord {
        owner,
        ..artifact(ArtifactId(bytes(5, number)), kind)
    };
    let ticket = ArtifactRecord { blob: None, ..upload(1, ArtifactKind::Stdin, ALICE) };
    let removed = upload(5, ArtifactKind::Stdin, ALICE);
    let changes = [
        Change::Artifact(ticket.clone()),
        Change::Artifact(upload(2, ArtifactKind::Stdin, ALICE)),
        Change::Artifact(upload(3, ArtifactKind::Program, ALICE)),
        Change::Artifact(upload(4, ArtifactKind::PrivateStdin, BOB)),
        Change::Artifact(removed.clone()),
        Change::Artifact(upload(6, ArtifactKind::Proof, Address::ZERO)),
        Change::Expired(removed.id, Some(Millis(5))),
        Change::Removed(removed.id, Millis(6)),
        Change::Program(program(1)),
        Change::Program(program(2)),
    ];
    store.commit(&changes).await.expect("commits");
    assert_eq!(store.open_tickets().await.expect("reads"), [(ticket.id, ALICE)]);
    let mut kept = store.bytes_by_owner().await.expect("reads");
    kept.sort_unstable();
    let each = removed.blob.expect("stored").size;
    assert_eq!(kept, [(ALICE, 2 * each), (BOB, each)]);
    let owner = program(1).owner;
    assert_eq!(store.programs_registered(owner).await.expect("reads"), 2);
    assert_eq!(store.programs_registered(BOB).await.expect("reads"), 0);
}
