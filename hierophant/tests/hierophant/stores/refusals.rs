//! Writes that a database refuses, and would refuse again.

use hierophant_model::records::{Change, JobState, Millis, Role, TokenRecord};
use hierophant_store::StoreError;
use network_lib::ids::{Sha256Digest, TokenId};

use super::Place;
use super::records::{attempt, job};

#[track_caller]
fn assert_refused(error: &StoreError, table: &str) {
    assert!(!error.is_transient(), "a repetition changes nothing: {error:?}");
    let StoreError::Refused { table: named, .. } = error else { panic!("{error:?}") };
    assert_eq!(named, table);
    assert!(error.to_string().contains(&format!("refused a write to {table}")), "{error}");
}

pub(crate) async fn a_write_that_the_database_refuses_names_its_table(place: Place) {
    let store = place.open().await;
    let token = |number: u8| TokenRecord {
        id: TokenId([number; 16]),
        name: "rig-7".into(),
        role: Role::Worker,
        client: None,
        digest: Sha256Digest([number; 32]),
        created_at: Millis(1),
        revoked_at: None,
        expires_at: None,
        used: None,
    };
    let queued = Change::Job(job(1, JobState::Queued));
    store.commit(&[Change::Token(token(1))]).await.expect("commits");
    let twice = [queued.clone(), Change::Token(token(2))];
    let error = store.commit(&twice).await.expect_err("the name is taken");
    assert_refused(&error, "tokens");
    assert_eq!(store.unfinished_jobs().await.expect("reads"), [], "nothing of it is stored");
    store.commit(&[queued]).await.expect("goes on");
}

pub(crate) async fn a_missing_table_is_named(place: Place) {
    let store = place.open().await;
    place.administer("DROP TABLE attempts").await;
    let queued = job(1, JobState::Queued);
    let error = store.commit(&[Change::Attempt(attempt(1, &queued))]).await.expect_err("is gone");
    assert_refused(&error, "attempts");
}
