//! What receivers of webhooks are still to hear.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use hierophant_model::records::{Change, JobState, Millis, NoticeRecord, RequestState};
use network_lib::ids::Sha256Digest;

use super::Place;
use super::records::{job, request};

pub(crate) fn notice(receiver: u8, number: u32) -> NoticeRecord {
    let mut ended = request(number, &job(number, JobState::Failed));
    ended.state = RequestState::Failed;
    NoticeRecord::of(Sha256Digest([receiver; 32]), &ended)
}

pub(crate) async fn notices_are_kept_until_they_are_settled(place: Place) {
    let store = place.open().await;
    let (first, second, other) = (notice(1, 1), notice(1, 2), notice(2, 1));
    let all = [&first, &second, &other].map(|notice| Change::Notice(notice.clone()));
    store.commit(&all).await.expect("commits");
    store.commit(&all).await.expect("commits what is there already");
    let late = NoticeRecord { attempts: 3, next_at: Millis(5000), ..first.clone() };
    store.commit(&[Change::Notice(late.clone())]).await.expect("commits");
    store.close().await;

    let store = place.open().await;
    let due = async |now| store.notices(first.receiver, Millis(now), 10).await.expect("reads");
    assert_eq!(due(0).await, []);
    assert_eq!(due(4999).await, std::slice::from_ref(&second));
    assert_eq!(due(5000).await, [second.clone(), late.clone()]);
    assert_eq!(store.notices(first.receiver, Millis(5000), 1).await.expect("reads").len(), 1);
    let counts = async || store.notice_counts().await.expect("reads");
    let unknown = |receiver, count| ((receiver, (Address::ZERO, None)), count);
    let two = [unknown(first.receiver, 2), unknown(other.receiver, 1)];
    assert_eq!(counts().await, BTreeMap::from(two));
    let changes = [Change::NoticeSettled(second.id), Change::ReceiverForgotten(other.receiver)];
    store.commit(&changes).await.expect("commits");
    assert_eq!(due(5000).await, [late]);
    assert_eq!(counts().await, BTreeMap::from([unknown(first.receiver, 1)]));
}

pub(crate) async fn notices_are_counted_by_requester(place: Place) {
    let store = place.open().await;
    let of = |number, requester: u8, client: Option<&str>| {
        let job = job(number, JobState::Failed);
        let mut ended = request(number, &job);
        ended.state = RequestState::Failed;
        ended.requester = Address::repeat_byte(requester);
        ended.client = client.map(Into::into);
        let notice = NoticeRecord::of(Sha256Digest([1; 32]), &ended);
        let spec = job.spec.clone();
        [Change::Job(job), Change::Request(ended, spec), Change::Notice(notice)]
    };
    let rollup = Some("rollup");
    let changes = [of(1, 7, None), of(2, 7, None), of(3, 8, None), of(4, 7, rollup)].concat();
    store.commit(&changes).await.expect("commits");
    let count = |requester, client: Option<&str>, count| {
        let owner = (Address::repeat_byte(requester), client.map(Into::into));
        ((Sha256Digest([1; 32]), owner), count)
    };
    let counts = store.notice_counts().await.expect("reads");
    assert_eq!(counts, [count(7, None, 2), count(8, None, 1), count(7, rollup, 1)].into());
}

pub(crate) async fn old_notices_are_found_and_all_are_moved_with_the_clock(place: Place) {
    let store = place.open().await;
    let tried = |number, at| NoticeRecord { attempts: 1, next_at: Millis(at), ..notice(1, number) };
    let (near, far, fresh, other) = (tried(1, 5000), tried(2, 90_000), notice(1, 3), notice(2, 4));
    let all = [&near, &far, &fresh, &other].map(|notice| Change::Notice(notice.clone()));
    store.commit(&all).await.expect("commits");

    let old = async |before: i64, limit| {
        let found = store.old_notices(near.receiver, Millis(before), limit).await.expect("reads");
        found.len()
    };
    let ended = near.ended_at.0.max(far.ended_at.0);
    assert_eq!(old(ended + 1, 10).await, 2, "not those that were never tried");
    assert_eq!(old(ended + 1, 1).await, 1);
    assert_eq!(old(near.ended_at.0.min(far.ended_at.0), 10).await, 0);

    let moved = Change::NoticesMoved(near.receiver, -2000, Millis(50_000));
    store.commit(&[moved]).await.expect("commits");
    let due = async |receiver, now| {
        let due = store.notices(receiver, Millis(now), 10).await.expect("reads");
        due.into_iter().map(|notice| notice.next_at.0).collect::<Vec<_>>()
    };
    let fresh = fresh.next_at.0 - 2000;
    assert_eq!(due(near.receiver, 50_000).await, [fresh, 3000, 50_000]);
    assert_eq!(due(other.receiver, 50_000).await, [other.next_at.0]);
}
