use std::time::Duration;

use alloy_primitives::Address;
use hierophant_model::clients::{NamedClient, Quota};
use hierophant_model::records::{Millis, NetworkMode, RequestRecord};
use network_lib::ids::{JobId, RequestId, VkHash};
use network_lib::job::{JobSpec, ProofMode};

use super::*;
use crate::config::Ending;

fn receiver(url: &str, on: &[Ending]) -> Receiver {
    let secret = Secret::from(format!("whsec_{}", "c2VjcmV0".repeat(4)));
    Receiver::new(&WebhookConfig { url: url.into(), secret, on: on.to_vec(), clients: vec![] })
}

fn ended(number: u8, state: RequestState) -> Change {
    let request = RequestRecord {
        id: RequestId([number; 32]),
        job: JobId([1; 16]),
        requester: Address::ZERO,
        client: None,
        token: None,
        stated_digest: None,
        network_mode: NetworkMode::Reserved,
        strategy: 0,
        version: "sp1-v6.1.0".into(),
        stdin_uri: String::new(),
        stdin_private: false,
        deadline: 1,
        min_auction_period: 0,
        whitelist: vec![],
        state,
        created_at: Millis(1),
        updated_at: Millis(2),
        fulfilled_at: None,
    };
    let spec = JobSpec {
        vk_hash: VkHash([9; 32]),
        circuit_version: "v6.1.0".into(),
        mode: ProofMode::Core,
        cycle_limit: 1,
        gas_limit: 1,
    };
    Change::Request(request, spec)
}

fn webhooks(receivers: Vec<Receiver>) -> Webhooks {
    Webhooks { receivers: receivers.into_iter().map(Arc::new).collect(), metrics: Metrics::new() }
}

#[test]
fn a_receiver_hears_of_the_ends_that_it_asked_for() {
    let all = receiver("https://a.example/x?token=s3cret", &Ending::ALL);
    let failed = receiver("http://b.example:8080/", &[Ending::Failed]);
    let webhooks = webhooks(vec![all, failed]);
    let names: Vec<_> = webhooks.states().into_iter().map(|state| state.receiver).collect();
    assert_eq!(names, ["a.example", "b.example:8080"]);
    let changes = [
        ended(1, RequestState::Open),
        ended(2, RequestState::Failed),
        ended(3, RequestState::Expired),
    ];
    let notices = webhooks.notices(&changes, &Clients::default());
    let told: Vec<_> = notices
        .iter()
        .map(|change| match change {
            Change::Notice(notice) => (notice.receiver, notice.request.0[0]),
            other => panic!("{other:?}"),
        })
        .collect();
    let (all, failed) = (webhooks.receivers[0].id, webhooks.receivers[1].id);
    assert_eq!(told, [(all, 2), (all, 3), (failed, 2)]);
    assert_eq!(
        webhooks.notices(&changes, &Clients::default()),
        notices,
        "the same end has the same id"
    );
}

/// A request that failed, of this address and client.
fn of(number: u8, requester: Address, client: Option<&str>) -> Change {
    let Change::Request(request, spec) = ended(number, RequestState::Failed) else {
        panic!("a request")
    };
    Change::Request(RequestRecord { requester, client: client.map(Into::into), ..request }, spec)
}

/// Requests of which there are notices.
fn noticed(notices: &[Change]) -> Vec<u8> {
    let of = notices.iter().map(|change| match change {
        Change::Notice(notice) => notice.request.0[0],
        other => panic!("{other:?}"),
    });
    of.collect()
}

#[test]
fn the_notices_about_one_requester_take_no_place_of_anothers() {
    let webhooks = webhooks(vec![receiver("http://a.example/", &Ending::ALL)]);
    let receiver = &webhooks.receivers[0];
    let (flooding, other) = (Address::ZERO, Address::repeat_byte(1));
    receiver.undelivered.lock().add(flooding.into(), MAX_UNDELIVERED - 1);
    let clients = Clients::default();
    let mut changes = vec![of(1, flooding, None), of(2, flooding, None), of(3, other, None)];
    let notices = webhooks.notices(&changes, &clients);
    assert_eq!(noticed(&notices), [1, 3]);
    changes.extend(notices);
    webhooks.kept(&changes, &clients);
    assert_eq!(noticed(&webhooks.notices(&changes, &clients)), [3]);
    let state = webhooks.states().remove(0);
    assert_eq!((state.undelivered, state.dropped), (MAX_UNDELIVERED + 1, 3));

    // A place is free again once a notice is delivered.
    receiver.undelivered.lock().remove(flooding.into());
    assert_eq!(noticed(&webhooks.notices(&changes, &clients)), [1, 3]);
    let count = |id, count| ((id, (other, None)), count);
    let counts = [count(receiver.id, 7), count(Sha256Digest([9; 32]), 5)].into();
    receiver.recount(&counts, &clients);
    assert_eq!(receiver.undelivered(), 7);
    assert_eq!(receiver.undelivered.lock().of(flooding.into()), 0);
}

#[test]
fn the_addresses_and_tokens_of_a_client_share_its_places() {
    let (one, two, any) =
        (Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3));
    let rollup =
        NamedClient { name: "rollup".into(), addresses: vec![one, two], ..NamedClient::default() };
    let clients = Clients::new([rollup], Quota::default(), 0);
    let webhooks = webhooks(vec![receiver("http://a.example/", &Ending::ALL)]);
    let receiver = &webhooks.receivers[0];
    let counts = [
        ((receiver.id, (one, None)), MAX_UNDELIVERED - 4),
        ((receiver.id, (any, Some("rollup".into()))), 2),
    ];
    receiver.recount(&counts.into(), &clients);
    let all = [of(1, one, None), of(2, any, Some("rollup")), of(3, two, None), of(4, any, None)];
    assert_eq!(noticed(&webhooks.notices(&all, &clients)), [1, 2, 4]);
}

#[test]
fn any_number_of_fresh_keys_leaves_the_places_of_named_clients() {
    let rollup = NamedClient {
        name: "rollup".into(),
        addresses: vec![Address::repeat_byte(1)],
        ..NamedClient::default()
    };
    let clients = Clients::new([rollup], Quota::default(), 0);
    let webhooks = webhooks(vec![receiver("http://a.example/", &Ending::ALL)]);
    let receiver = &webhooks.receivers[0];
    for n in 0..MAX_OF_STRANGERS - 1 {
        receiver.undelivered.lock().add(Address::left_padding_from(&n.to_be_bytes()).into(), 1);
    }
    let fresh = |number| of(number, Address::repeat_byte(number), None);
    let all = [fresh(7), fresh(8), of(9, Address::repeat_byte(1), None), fresh(10)];
    assert_eq!(noticed(&webhooks.notices(&all, &clients)), [7, 9]);
}

/// A notice whose request ended this long ago, after one failed attempt and before the next.
fn tried(receiver: &Receiver, number: u8, ended_ago: Duration, next_in: Duration) -> NoticeRecord {
    let Change::Request(request, _) = ended(number, RequestState::Failed) else { unreachable!() };
    let (mut ended_at, mut next_at) = (Millis::now(), Millis::now());
    ended_at.shift(-Millis::from(ended_ago).0);
    next_at.shift(Millis::from(next_in).0);
    NoticeRecord { attempts: 1, ended_at, next_at, ..NoticeRecord::of(receiver.id, &request) }
}

#[tokio::test]
async fn old_notices_are_dropped_by_age_and_a_clock_that_was_ahead_delays_none() {
    const HOUR: Duration = Duration::from_secs(3600);
    let folder = tempfile::tempdir().expect("temp dir");
    let store: Arc<dyn JobStore> =
        hierophant_store::sqlite::open(&folder.path().join("db"), ()).await.expect("opens");
    // Port 9 of this machine takes nothing.
    let receiver = receiver("http://127.0.0.1:9/", &Ending::ALL);
    let old = tried(&receiver, 1, 80 * HOUR, HOUR);
    let young = tried(&receiver, 2, HOUR, 90 * HOUR);
    let kept = [&old, &young].map(|notice| Change::Notice(notice.clone()));
    store.commit(&kept).await.expect("commits");
    let clients = Clients::default();
    let metrics = Metrics::new();
    let delivering = deliver::deliver(&receiver, &*store, &clients, &metrics);
    let left = async {
        while store.notice_counts().await.expect("reads").values().sum::<u64>() != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The loop has looked for old ones, so it has moved the other one.
        let mut in_an_hour = Millis::now();
        in_an_hour.shift(Millis::from(HOUR).0 + 1000);
        store.notices(receiver.id, in_an_hour, 10).await.expect("reads")
    };
    let left = tokio::select! {
        () = delivering => panic!("delivery ended"),
        left = left => left,
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("the old notice is kept"),
    };
    let ids: Vec<_> = left.iter().map(|notice| notice.id).collect();
    assert_eq!(ids, [young.id]);
}

#[test]
fn a_receiver_of_some_clients_hears_of_no_others() {
    let mut rollups = receiver("https://a.example/", &Ending::ALL);
    rollups.clients = vec!["rollup".into()];
    let webhooks = webhooks(vec![rollups]);
    let by = |number, client: Option<&str>| match ended(number, RequestState::Failed) {
        Change::Request(request, spec) => {
            Change::Request(RequestRecord { client: client.map(Into::into), ..request }, spec)
        }
        other => other,
    };
    let changes = [by(1, Some("rollup")), by(2, Some("other")), by(3, None)];
    let notices = webhooks.notices(&changes, &Clients::default());
    let [Change::Notice(notice)] = notices.as_slice() else { panic!("{notices:?}") };
    assert_eq!(notice.request, RequestId([1; 32]));
}
