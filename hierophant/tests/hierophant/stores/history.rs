//! Which records are archived and deleted, in each store.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hierophant::history::{Deleted, History, Rules};
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, AuditRecord, Change, JobRecord, JobState, Millis, RequestRecord,
    RequestState,
};
use network_lib::ids::{ArtifactId, AuditId};

use super::Place;
use super::records::{artifact, attempt, bytes, full_job, job, request, spec};

const DAY: i64 = 24 * 3600 * 1000;
const NOW: i64 = 1_800_000_000_000;

fn rules(archive: &Path) -> Rules {
    Rules {
        records: Some(Duration::from_secs(30 * 24 * 3600)),
        audit: Duration::from_secs(365 * 24 * 3600),
        archive: Some(archive.to_owned()),
    }
}

fn asked(number: u32, job: &JobRecord, deadline: i64) -> Change {
    let request = RequestRecord {
        state: RequestState::Fulfilled,
        deadline: (deadline / 1000).unsigned_abs(),
        ..request(number, job)
    };
    Change::Request(request, spec())
}

fn proof(number: u32, removed_at: Option<i64>) -> Change {
    let kept = artifact(ArtifactId(bytes(6, number)), ArtifactKind::Proof);
    let at = removed_at.map(Millis);
    Change::Artifact(ArtifactRecord { expired_at: at, removed_at: at, ..kept })
}

pub(crate) fn audited(number: u8, at: i64) -> AuditRecord {
    AuditRecord {
        id: AuditId([number; 16]),
        at: Millis(at),
        by: None,
        peer: "10.0.0.9".into(),
        forwarded: None,
        program: "curl/8".into(),
        action: "POST /api/v1/dispatch/pause".into(),
        body: "{}".into(),
        code: 200,
    }
}

/// Records and ids in the archive.
fn archived(folder: &Path) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let file = std::fs::File::open(entry.expect("entry").path()).expect("readable");
        let text = String::from_utf8(zstd::decode_all(file).expect("is zstd")).expect("is text");
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("is JSON");
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            let id = text("id").or_else(|| text("job")).expect("an id");
            found.insert((text("record").expect("a kind"), id));
        }
    }
    found
}

pub(crate) async fn old_records_are_archived_and_deleted(place: Place) {
    let store = place.open().await;
    let folder = tempfile::tempdir().expect("temp dir");
    let archive = folder.path().join("archive");
    let old = |number| JobRecord { finished_at: Some(Millis(NOW - 40 * DAY)), ..full_job(number) };
    let (gone, waiting, kept, asked_often) = (old(1), old(2), old(3), old(4));
    let recent = JobRecord { finished_at: Some(Millis(NOW - DAY)), ..full_job(5) };
    let unfinished = job(6, JobState::Queued);
    let past = NOW - 39 * DAY;
    let mut changes: Vec<Change> = [&gone, &waiting, &kept, &asked_often, &recent, &unfinished]
        .map(|job| Change::Job(job.clone()))
        .to_vec();
    changes.extend([
        asked(1, &gone, past),
        Change::Attempt(attempt(1, &gone)),
        proof(1, Some(NOW - 35 * DAY)),
        // Its client may repeat its call or poll for another day.
        asked(2, &waiting, NOW + DAY),
        Change::Attempt(attempt(2, &waiting)),
        asked(3, &kept, past),
        proof(3, None),
        proof(5, Some(NOW - DAY)),
        Change::Audited(audited(1, NOW - 366 * DAY)),
        Change::Audited(audited(2, NOW - 364 * DAY)),
    ]);
    changes.extend((100..4600).map(|number| asked(number, &asked_often, past)));
    store.commit(&changes).await.expect("commits");

    let history = History::new(store.clone(), rules(&archive));
    let deleted = history.run(Millis(NOW)).await.expect("runs");
    assert_eq!(deleted, Deleted { jobs: 2, others: 1 + 1 + 4500 + 1 + 1, divisions: 0 });
    let found = async |id| store.job(id).await.expect("reads").is_some();
    for (job, is_there) in [
        (&gone, false),
        (&waiting, true),
        (&kept, true),
        (&asked_often, false),
        (&recent, true),
        (&unfinished, true),
    ] {
        assert_eq!(found(job.id).await, is_there, "{job:?}");
    }
    assert_eq!(store.request(request(1, &gone).id).await.expect("reads"), None);
    assert!(store.request(request(2, &waiting).id).await.expect("reads").is_some());
    assert_eq!(store.attempts(gone.id).await.expect("reads"), []);
    assert_eq!(store.attempts(waiting.id).await.expect("reads").len(), 1);
    assert_eq!(store.artifact(ArtifactId(bytes(6, 1))).await.expect("reads"), None);
    for number in [3, 5] {
        let found = store.artifact(ArtifactId(bytes(6, number))).await.expect("reads");
        assert!(found.is_some(), "{number}");
    }
    assert_eq!(store.audit(None, 10).await.expect("reads").len(), 1);

    let lines = archived(&archive);
    let of = |kind: &str| lines.iter().filter(|(record, _)| record == kind).count();
    let counts = ["job", "request", "attempt", "artifact", "audit"].map(of);
    assert_eq!(counts, [2, 4501, 1, 1, 1]);
    assert!(lines.contains(&("job".into(), hex::encode(gone.id.0))));
    assert!(lines.contains(&("request".into(), hex::encode(request(1, &gone).id.0))));
    assert_eq!(history.run(Millis(NOW)).await.expect("runs"), Deleted::default());
    // Once the deadline has passed and the proof is removed, the others follow.
    store.commit(&[proof(3, Some(NOW))]).await.expect("commits");
    let deleted = history.run(Millis(NOW + 2 * DAY)).await.expect("runs");
    assert_eq!(deleted.jobs, 2);
    assert!(!found(waiting.id).await && !found(kept.id).await && found(recent.id).await);
}

pub(crate) async fn nothing_is_deleted_that_is_not_archived(place: Place) {
    let store = place.open().await;
    let folder = tempfile::tempdir().expect("temp dir");
    let archive = folder.path().join("archive");
    std::fs::write(&archive, "in the way").expect("writes");
    let old = full_job(1);
    store
        .commit(&[Change::Job(old.clone()), Change::Audited(audited(1, 0))])
        .await
        .expect("commits");
    let history = History::new(store.clone(), rules(&archive));
    history.run(Millis(NOW)).await.expect_err("the archive cannot be written");
    assert!(store.job(old.id).await.expect("reads").is_some());
    // Without an archive it goes.
    let history = History::new(store.clone(), Rules { archive: None, ..rules(&archive) });
    let deleted = history.run(Millis(NOW)).await.expect("runs");
    assert_eq!(deleted, Deleted { jobs: 1, others: 1, divisions: 0 });
    // Records that are kept forever stay, whatever their age.
    store.commit(&[Change::Job(old.clone())]).await.expect("commits");
    let forever = Rules { records: None, archive: None, ..rules(&archive) };
    let deleted = History::new(store.clone(), forever).run(Millis(NOW)).await.expect("runs");
    assert_eq!(deleted, Deleted::default());
    assert!(store.job(old.id).await.expect("reads").is_some());
}
