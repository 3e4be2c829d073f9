//! What receivers of webhooks are still to hear.

use std::collections::BTreeMap;

use hierophant_model::records::{Change, JobState, Millis, NoticeRecord, RequestState};
use network_lib::ids::Sha256Digest;

use super::Place;
use super::records::{job, request};

fn notice(receiver: u8, number: u32) -> NoticeRecord {
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
    assert_eq!(counts().await, BTreeMap::from([(first.receiver, 2), (other.receiver, 1)]));
    let changes = [Change::NoticeSettled(second.id), Change::ReceiverForgotten(other.receiver)];
    store.commit(&changes).await.expect("commits");
    assert_eq!(due(5000).await, [late]);
    assert_eq!(counts().await, BTreeMap::from([(first.receiver, 1)]));
}
