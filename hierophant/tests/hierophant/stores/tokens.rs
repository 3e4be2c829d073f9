//! Who has a token.

use hierophant_model::records::{Change, Millis, Role, TokenRecord};
use network_lib::ids::{Sha256Digest, TokenId};

use super::Place;

pub(crate) fn token(number: u8, name: &str, role: Role) -> TokenRecord {
    TokenRecord {
        id: TokenId([number; 16]),
        name: name.into(),
        role,
        client: (role == Role::Client).then(|| "rollup".into()),
        digest: Sha256Digest([number; 32]),
        created_at: Millis(number.into()),
        revoked_at: None,
        expires_at: None,
        used: None,
    }
}

pub(crate) async fn tokens_are_kept_and_no_two_valid_ones_have_one_name(place: Place) {
    let store = place.open().await;
    let all = [
        token(1, "rig-7", Role::Worker),
        token(2, "rollup", Role::Client),
        token(3, "grafana", Role::Read),
        token(4, "ops", Role::Act),
    ];
    store.commit(&all.clone().map(Change::Token)).await.expect("commits");
    let second = token(5, "rig-7", Role::Worker);
    store.commit(&[Change::Token(second.clone())]).await.expect_err("the name is taken");
    let revoked = TokenRecord { revoked_at: Some(Millis(9)), ..all[0].clone() };
    store.commit(&[Change::Token(revoked.clone())]).await.expect("commits");
    store.commit(&[Change::Token(second.clone())]).await.expect("the name is free");
    let same = TokenRecord { digest: all[1].digest, ..token(6, "other", Role::Client) };
    store.commit(&[Change::Token(same)]).await.expect_err("one secret is one token's");
    store.close().await;
    let store = place.open().await;
    let [_, client, read, act] = all;
    let kept = [revoked, client, read, act, second];
    assert_eq!(store.tokens().await.expect("reads"), kept);
}
