//! What operators have done.

use hierophant_model::records::{AuditRecord, Change, Millis};
use network_lib::ids::{AuditId, TokenId};

use super::Place;

fn record(number: u8, at: i64) -> AuditRecord {
    AuditRecord {
        id: AuditId([number; 16]),
        at: Millis(at),
        by: (number > 1).then(|| (TokenId([9; 16]), "anna".to_owned())),
        peer: "10.0.0.9".into(),
        forwarded: (number > 2).then(|| "192.0.2.7".to_owned()),
        program: "curl/8".into(),
        action: "POST /api/v1/dispatch/pause".into(),
        body: "{\"reason\":\"ä\"}".into(),
        code: 200,
    }
}

pub(crate) async fn what_was_done_is_read_page_by_page_and_forgotten_by_age(place: Place) {
    let store = place.open().await;
    let all = [record(1, 1000), record(2, 2000), record(3, 2000), record(4, 3000)];
    let changes = all.clone().map(Change::Audited);
    store.commit(&changes).await.expect("commits");
    store.commit(&changes).await.expect("commits what is there already");
    store.close().await;

    let store = place.open().await;
    let read = async |before, limit| store.audit(before, limit).await.expect("reads");
    let [first, second, third, fourth] = all;
    assert_eq!(read(None, 2).await, [fourth.clone(), third.clone()]);
    assert_eq!(read(Some((third.at, third.id)), 10).await, [second.clone(), first.clone()]);
    assert_eq!(store.audited_at(second.id).await.expect("reads"), Some(Millis(2000)));
    assert_eq!(store.audited_at(AuditId([7; 16])).await.expect("reads"), None);
    store.commit(&[Change::AuditForgotten(Millis(2000))]).await.expect("commits");
    assert_eq!(read(None, 10).await, [fourth, third, second]);
}
