//! How much an address has taken, in each store.

use alloy_primitives::Address;
use hierophant_model::clients::ClientRecords;
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, Change, Millis, ProgramRecord, ProgramState, RequestFilter,
    RequestRecord,
};
use network_lib::ids::ArtifactId;
use network_lib::job::Execution;

use super::Place;
use super::records::{artifact, bytes, execution, full_job, program, request, spec};

const ALICE: Address = Address::repeat_byte(0xaa);
const BOB: Address = Address::repeat_byte(0xbb);

/// Records of an address that belongs to no client with a name.
fn of(address: Address) -> ClientRecords {
    ClientRecords { name: None, addresses: vec![address] }
}

/// Records of a client with a name and this address.
fn of_rollup(address: Address) -> ClientRecords {
    ClientRecords { name: Some("rollup".into()), addresses: vec![address] }
}

pub(crate) async fn cycles_of_an_address_are_counted_since_a_time(place: Place) {
    let store = place.open().await;
    let mut lied = full_job(3);
    lied.execution = Some(Execution { cycles: u64::MAX, ..execution() });
    let (first, second) = (full_job(1), full_job(2));
    let asked = |number, job| RequestRecord { client: None, ..request(number, job) };
    let by_alice = |number, job| Change::Request(asked(number, job), spec());
    let joined = RequestRecord { requester: BOB, ..asked(4, &first) };
    let changes = [
        Change::Job(first.clone()),
        by_alice(1, &first),
        Change::Request(joined, spec()),
        Change::Job(second.clone()),
        by_alice(2, &second),
        Change::Job(lied.clone()),
        by_alice(3, &lied),
    ];
    store.commit(&changes).await.expect("commits");
    let cycles = async |who, since, now| {
        store.cycles_executed(&who, Millis(since), Millis(now)).await.expect("reads")
    };
    let each = execution().cycles;
    assert_eq!(cycles(of(ALICE), 0, 20).await, 2 * each);
    assert_eq!(cycles(of(ALICE), 10, 20).await, each);
    assert_eq!(cycles(of(ALICE), 0, 100).await, 2 * each + 10_000_000_000_000, "a lie is capped");
    assert_eq!(cycles(of(BOB), 0, 100).await, 0, "who joins has made nothing");
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
    assert_eq!(store.open_tickets().await.expect("reads"), [(ticket.id, (ALICE, None))]);
    let mut kept = store.bytes_by_owner().await.expect("reads");
    kept.sort_unstable();
    let each = removed.blob.expect("stored").size;
    assert_eq!(kept, [((ALICE, None), 2 * each), ((BOB, None), each)]);
    let owner = program(1).owner;
    assert_eq!(store.programs_registered(&of(owner)).await.expect("reads"), 2);
    assert_eq!(store.programs_registered(&of(BOB)).await.expect("reads"), 0);
}

pub(crate) async fn records_belong_to_the_stored_client_or_else_to_their_address(place: Place) {
    let store = place.open().await;
    let name = || Some("rollup".into());
    let upload = |number, client| ArtifactRecord {
        owner: ALICE,
        client,
        ..artifact(ArtifactId(bytes(5, number)), ArtifactKind::Stdin)
    };
    let job = full_job(1);
    let asked = |number, requester, client| {
        Change::Request(RequestRecord { requester, client, ..request(number, &job) }, spec())
    };
    let owned =
        |number, client| Change::Program(ProgramRecord { owner: ALICE, client, ..program(number) });
    let changes = [
        Change::Artifact(upload(1, name())),
        Change::Artifact(upload(2, None)),
        Change::Job(job.clone()),
        asked(1, ALICE, name()),
        asked(2, ALICE, None),
        asked(3, BOB, None),
        asked(4, BOB, Some("other".into())),
        owned(1, name()),
        owned(2, None),
        owned(3, Some("other".into())),
    ];
    store.commit(&changes).await.expect("commits");
    let mut kept = store.bytes_by_owner().await.expect("reads");
    kept.sort_unstable();
    let size = upload(1, None).blob.expect("stored").size;
    assert_eq!(kept, [((ALICE, None), size), ((ALICE, name()), size)]);
    for (client, programs, requests) in [
        (of_rollup(BOB), 1, vec![3, 1]),
        (of_rollup(ALICE), 2, vec![2, 1]),
        (of(ALICE), 1, vec![2]),
        (ClientRecords { name: Some("none".into()), addresses: vec![] }, 0, vec![]),
    ] {
        assert_eq!(
            store.programs_registered(&client).await.expect("reads"),
            programs,
            "{client:?}"
        );
        let cycles = store.cycles_executed(&client, Millis(0), Millis(100)).await.expect("reads");
        // The others have joined the job of the first.
        let made = if requests.contains(&1) { execution().cycles } else { 0 };
        assert_eq!(cycles, made, "{client:?}");
        let filter =
            RequestFilter { client: Some(client.clone()), limit: 10, ..RequestFilter::default() };
        let found = store.requests(&filter).await.expect("reads");
        let numbers: Vec<_> = found.iter().map(|view| view.request.created_at.0 / 10).collect();
        assert_eq!(numbers, requests, "{client:?}");
    }
}

pub(crate) async fn a_confirmed_program_stays_confirmed_until_it_is_removed(place: Place) {
    let store = place.open().await;
    let wanted = program(1);
    let (id, upload) = (wanted.vk_hash, wanted.artifact);
    store.commit(&[Change::Program(wanted.clone())]).await.expect("commits");
    let after = async |change| {
        store.commit(&[change]).await.expect("commits");
        store.program(id).await.expect("reads")
    };
    let late = Change::ProgramState(id, ArtifactId([9; 16]), ProgramState::Refuted);
    assert_eq!(after(late).await, Some(wanted.clone()), "it was about another upload");
    for state in [ProgramState::Refuted, ProgramState::Confirmed] {
        let known = Some(ProgramRecord { state, ..wanted.clone() });
        assert_eq!(after(Change::ProgramState(id, upload, state)).await, known);
    }
    let refuted = Change::ProgramState(id, upload, ProgramState::Refuted);
    assert_eq!(after(refuted).await.map(|it| it.state), Some(ProgramState::Confirmed));
    let reassigned = after(Change::ProgramOwner(id, (BOB, Some("rollup".into())))).await;
    let owner = reassigned.map(|program| (program.owner, program.client));
    assert_eq!(owner, Some((BOB, Some("rollup".into()))));
    assert_eq!(after(Change::ProgramRemoved(id)).await, None);
}
