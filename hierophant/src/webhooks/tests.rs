use alloy_primitives::Address;
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

#[test]
fn what_is_kept_for_a_receiver_is_bounded() {
    let webhooks = webhooks(vec![receiver("http://a.example/", &Ending::ALL)]);
    webhooks.receivers[0].undelivered.store(MAX_UNDELIVERED - 1, Ordering::Relaxed);
    let changes = [ended(1, RequestState::Failed), ended(2, RequestState::Failed)];
    let notices = webhooks.notices(&changes, &Clients::default());
    assert_eq!(notices.len(), 1);
    webhooks.kept(&notices);
    assert!(webhooks.notices(&changes, &Clients::default()).is_empty());
    let state = webhooks.states().remove(0);
    assert_eq!((state.undelivered, state.dropped), (MAX_UNDELIVERED, 3));
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
