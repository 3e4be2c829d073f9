use hierophant_store::sqlite;

use super::*;

async fn tokens() -> (tempfile::TempDir, Arc<dyn JobStore>, Tokens) {
    let folder = tempfile::tempdir().expect("temp dir");
    let store = sqlite::open(&folder.path().join("db"), ()).await.expect("opens");
    let tokens = Tokens::open(&store).await.expect("reads");
    (folder, store, tokens)
}

#[tokio::test]
async fn a_secret_is_its_bearers_until_it_is_revoked_and_over_a_restart() {
    let (_folder, store, tokens) = tokens().await;
    assert!(!tokens.any(Role::is_of_worker));
    let (secret, record) = tokens.create("rig-7", Role::Worker, None).await.expect("made");
    let (other, _) = tokens.create("ops", Role::Act, None).await.expect("made");
    assert_eq!(secret.len(), "hpt_worker_".len() + 43);
    assert!(secret.starts_with("hpt_worker_") && other.starts_with("hpt_act_"));
    let bearer = Bearer { id: record.id, name: "rig-7".into(), role: Role::Worker, client: None };
    assert_eq!(tokens.bearer(&secret), Some(bearer.clone()));
    for stranger in ["", "rig-7", &secret[1..], &format!("{secret} "), &record.digest.to_string()] {
        assert_eq!(tokens.bearer(stranger), None, "{stranger}");
    }
    let again = Tokens::open(&store).await.expect("reads");
    assert_eq!(again.bearer(&secret), Some(bearer));
    assert!(again.any(Role::is_of_worker) && !again.any(|role| role == Role::Read));

    let mut heard = tokens.revocations();
    let revoked = tokens.revoke("rig-7").await.expect("revoked");
    assert_eq!(heard.try_recv().ok(), Some(record.id));
    assert!(revoked.revoked_at.is_some());
    assert_eq!(tokens.revoke("rig-7").await.expect("as it was"), revoked);
    assert!(heard.try_recv().is_err(), "nothing has happened");
    let again = Tokens::open(&store).await.expect("reads");
    for tokens in [&tokens, &again] {
        assert_eq!(tokens.bearer(&secret), None);
        assert!(!tokens.any(Role::is_of_worker) && !tokens.is_valid(record.id));
        assert!(tokens.bearer(&other).is_some());
        assert!(tokens.list().contains(&revoked));
    }
}

#[tokio::test]
async fn the_name_of_a_revoked_token_is_free_again() {
    let (_folder, store, tokens) = tokens().await;
    let (old, _) = tokens.create("rig-7", Role::Worker, None).await.expect("made");
    let taken = tokens.create("rig-7", Role::Client, None).await;
    assert!(matches!(taken, Err(CreateError::NameTaken)));
    tokens.revoke("rig-7").await.expect("revoked");
    let (new, record) = tokens.create("rig-7", Role::Worker, None).await.expect("made");
    assert_eq!(tokens.bearer(&old), None);
    assert_eq!(tokens.bearer(&new).map(|bearer| bearer.id), Some(record.id));
    assert_eq!(store.tokens().await.expect("reads").len(), 2);
    assert_eq!(tokens.revoke("rig-7").await.expect("revoked").id, record.id);
    assert!(matches!(tokens.revoke("rig-8").await, Err(RevokeError::Missing)));
}

#[tokio::test]
async fn a_token_of_a_client_is_bound_to_it_also_after_a_restart() {
    let (_folder, store, tokens) = tokens().await;
    let wrong = tokens.create_for("rig-7", Role::Worker, None, Some("rollup".into())).await;
    assert!(matches!(wrong, Err(CreateError::NotAClient)));
    let bound = tokens.create_for("rollup-1", Role::Client, None, Some("rollup".into())).await;
    let (secret, _) = bound.expect("made");
    let again = Tokens::open(&store).await.expect("reads");
    for tokens in [&tokens, &again] {
        let bearer = tokens.bearer(&secret).expect("valid");
        assert_eq!(bearer.client.as_deref(), Some("rollup"));
    }
}

#[tokio::test]
async fn names_fit_into_urls_and_command_lines() {
    let (_folder, _store, tokens) = tokens().await;
    let long = "a".repeat(65);
    for name in ["", ".", "../x", "-rf", "a b", "a/b", "a\n", "ä", "a%2f", &long] {
        assert!(
            matches!(tokens.create(name, Role::Read, None).await, Err(CreateError::Name)),
            "{name}"
        );
    }
    tokens.create(&long[..64], Role::Read, None).await.expect("made");
    tokens.create("7.a_b-C", Role::Read, None).await.expect("made");
}

/// Number of writes of a use that the store has seen, by a trigger.
fn count_writes(
    folder: &tempfile::TempDir,
) -> (rusqlite::Connection, impl Fn(&rusqlite::Connection) -> i64) {
    let database = rusqlite::Connection::open(folder.path().join("db")).expect("opens");
    let script = "CREATE TABLE written (n INTEGER); CREATE TRIGGER count AFTER UPDATE OF used_at ON tokens \
                  BEGIN INSERT INTO written VALUES (1); END";
    database.execute_batch(script).expect("a trigger");
    let count = |database: &rusqlite::Connection| {
        database.query_row("SELECT count(*) FROM written", [], |row| row.get(0)).expect("a number")
    };
    (database, count)
}

#[tokio::test]
async fn uses_are_stored_together_and_only_if_there_are_any() {
    let (folder, store, tokens) = tokens().await;
    let (secret, record) = tokens.create("rig-7", Role::Worker, None).await.expect("made");
    let (database, count) = count_writes(&folder);
    let from: IpAddr = "::ffff:10.0.0.9".parse().expect("an address");
    for _ in 0..1000 {
        tokens.bearer_from(&secret, from).expect("valid");
    }
    assert_eq!(count(&database), 0, "a use is noted in memory");
    tokens.save_uses().await;
    tokens.save_uses().await;
    assert_eq!(count(&database), 1);
    let used = store.tokens().await.expect("reads")[0].used.expect("stored");
    assert_eq!(used.from, "10.0.0.9".parse::<IpAddr>().expect("an address"));
    // A revocation that is stored later keeps the use, and the other way round.
    tokens.revoke("rig-7").await.expect("revoked");
    tokens.used(record.id, from);
    tokens.save_uses().await;
    let stored = store.tokens().await.expect("reads").remove(0);
    assert!(stored.revoked_at.is_some() && stored.used.is_some(), "{stored:?}");
}

#[tokio::test]
async fn a_token_is_valid_until_its_time_is_over() {
    let now = Millis::now();
    let (_folder, _store, tokens) = tokens().await;
    let day = Duration::from_secs(24 * 3600);
    let (_, record) = tokens.create("rita", Role::Read, Some(day)).await.expect("made");
    let end = record.expires_at.expect("an end");
    assert!(end.since(now) >= 24 * 3600 * 1000);
    assert!(record.is_valid(Millis(end.0 - 1)) && !record.is_valid(end));
    for lifetime in [Duration::ZERO, Duration::from_millis(999), MAX_LIFETIME + day] {
        let refused = tokens.create("anna", Role::Read, Some(lifetime)).await;
        assert!(matches!(refused, Err(CreateError::Lifetime)), "{lifetime:?}");
    }
}
