//! One suite for the folder and the bucket; then what only one of them can suffer.

use std::fs;
use std::time::{Duration, Instant};

use network_lib::secret::Secret;
use tempfile::TempDir;
use test_peers::s3::{ACCESS_KEY_ID, BUCKET, Mood, S3, SECRET_ACCESS_KEY};

use super::*;

/// Blobs somewhere, and the way to their bytes behind their back.
struct Place {
    blobs: Blobs,
    folder: TempDir,
    s3: Option<S3>,
}

impl Place {
    fn folder() -> Self {
        let folder = tempfile::tempdir().expect("temp dir");
        Self { blobs: Blobs::open(folder.path()).expect("opens"), folder, s3: None }
    }

    async fn bucket() -> Self {
        let (s3, folder) = (S3::start().await, tempfile::tempdir().expect("temp dir"));
        let blobs = Blobs::connect(folder.path(), &settings(&s3)).await.expect("connects");
        Self { blobs, folder, s3: Some(s3) }
    }

    async fn both() -> [Self; 2] {
        [Self::folder(), Self::bucket().await]
    }

    fn s3(&self) -> &S3 {
        self.s3.as_ref().expect("a bucket")
    }

    fn file(&self, id: ArtifactId) -> PathBuf {
        match &self.s3 {
            Some(s3) => s3.object(&format!("some/prefix/{id}")),
            None => self.blobs.store.path(id).expect("a file"),
        }
    }

    /// Files of the folder, half-written ones included.
    fn files(&self) -> usize {
        files_below(self.folder.path())
    }

    async fn put(&self, id: ArtifactId, bytes: &[u8]) -> BlobInfo {
        let staged = stage(&self.blobs, bytes).await;
        let info = staged.info();
        self.blobs.adopt(staged, id).await.expect("adopts");
        info
    }

    async fn get(&self, id: ArtifactId, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        let chunks: Vec<Bytes> = self.blobs.read(id, range).await?.try_collect().await?;
        Ok(chunks.concat())
    }
}

fn settings(s3: &S3) -> BucketSettings {
    BucketSettings {
        bucket: BUCKET.into(),
        prefix: "some/prefix".into(),
        endpoint: Some(s3.endpoint()),
        region: None,
        keys: Some((Secret::from(ACCESS_KEY_ID), Secret::from(SECRET_ACCESS_KEY))),
        virtual_host: false,
    }
}

async fn stage(blobs: &Blobs, bytes: &[u8]) -> StagedBlob {
    stage_announced(blobs, bytes, None).await
}

async fn stage_announced(blobs: &Blobs, bytes: &[u8], announced: Option<u64>) -> StagedBlob {
    let mut writer = blobs.begin(announced);
    for chunk in bytes.chunks(1 << 20) {
        writer.write(Bytes::copy_from_slice(chunk)).await.expect("writes");
    }
    writer.finish().await.expect("finishes")
}

fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("entry"));
    entries.map(|e| if e.path().is_dir() { files_below(&e.path()) } else { 1 }).sum()
}

#[tokio::test]
async fn a_finished_blob_reads_back_with_its_digest() {
    for place in Place::both().await {
        let mut writer = place.blobs.begin(None);
        writer.write(Bytes::from_static(b"hello ")).await.expect("writes");
        writer.write(Bytes::from_static(b"world")).await.expect("writes");
        let staged = writer.finish().await.expect("finishes");
        assert_eq!(staged.info().size, 11);
        assert_eq!(
            staged.info().sha256.to_string(),
            "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
        );
        let id = ArtifactId::random();
        place.blobs.adopt(staged, id).await.expect("adopts");
        assert!(place.blobs.holds(id, 11).await.expect("answers"));
        assert!(!place.blobs.holds(id, 12).await.expect("answers"));
        assert_eq!(place.blobs.read_head(id, 5).await.expect("reads"), b"hello");
        assert_eq!(place.get(id, None).await.expect("reads"), b"hello world");
        assert_eq!(place.get(id, Some(6..9)).await.expect("reads"), b"wor");
        let local = place.blobs.local(id).await.expect("is fetched");
        assert_eq!(fs::read(local.path()).expect("reads"), b"hello world");
        drop(local);
        assert_eq!(place.files(), usize::from(place.s3.is_none()), "nothing else is left");
    }
}

#[tokio::test]
async fn what_was_never_there_or_is_removed_is_certainly_gone() {
    for place in Place::both().await {
        let id = ArtifactId::random();
        for _ in 0..2 {
            assert_eq!(place.blobs.metadata(id).await.expect("answers"), None);
            assert!(!place.blobs.is_there(id).await.expect("answers"));
            let error = place.get(id, None).await.expect_err("is not there");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            place.blobs.remove(id).await.expect("is fine");
            place.put(id, b"now it is").await;
            assert!(place.blobs.is_there(id).await.expect("answers"));
            place.blobs.remove(id).await.expect("removes");
        }
    }
}

#[tokio::test]
async fn damage_to_a_blob_is_found() {
    for place in Place::both().await {
        let id = ArtifactId::random();
        let info = place.put(id, b"hello").await;
        assert!(place.blobs.verify(id, info).await.expect("reads"));
        fs::write(place.file(id), b"hallo").expect("writes");
        assert!(!place.blobs.verify(id, info).await.expect("reads"), "other bytes of that size");
        fs::write(place.file(id), b"hell").expect("writes");
        assert!(!place.blobs.verify(id, info).await.expect("reads"), "too short");
        fs::remove_file(place.file(id)).expect("removes");
        assert!(!place.blobs.verify(id, info).await.expect("reads"), "missing");
    }
}

#[tokio::test]
async fn the_list_has_all_blobs_and_nothing_foreign() {
    for place in Place::both().await {
        assert!(!place.blobs.holds_any().await.expect("answers"));
        let mut ids = [1, 2, 3].map(|n| ArtifactId([n; 16]));
        for id in ids {
            place.put(id, b"x").await;
        }
        fs::write(place.file(ids[0]).with_file_name("notes.txt"), "mine").expect("writes");
        let listed: Vec<Listed> = place.blobs.list().try_collect().await.expect("lists");
        let mut found: Vec<_> = listed.iter().map(|blob| blob.id).collect();
        found.sort_unstable();
        ids.sort_unstable();
        assert_eq!(found, ids);
        assert!(listed.iter().all(|blob| Millis::now().since(blob.written) < 60_000));
        assert!(place.blobs.holds_any().await.expect("answers"));
        let mut asked = ids.to_vec();
        asked.push(ArtifactId([9; 16]));
        let sizes = place.blobs.sizes(asked, Duration::from_secs(10)).await;
        let sizes: Vec<_> = sizes.into_values().map(|size| size.expect("answers")).collect();
        assert_eq!(sizes, [Some(1), Some(1), Some(1), None]);
    }
}

#[tokio::test]
async fn a_blob_of_many_parts_is_whole_in_any_part() {
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n ^ (n >> 9)) as u8).collect();
    for place in Place::both().await {
        let id = ArtifactId::random();
        let info = place.put(id, &bytes).await;
        assert!(place.blobs.verify(id, info).await.expect("reads"));
        let across = (8 << 20) - 3..(8 << 20) + 5;
        let part = place.get(id, Some(across.start as u64..across.end as u64)).await;
        assert_eq!(part.expect("reads"), bytes[across]);
    }
}

#[tokio::test]
async fn an_announced_length_need_not_be_true() {
    for place in Place::both().await {
        for (length, announced) in [(0, 0), (11, 11), (300_000, 5), (5, 300_000), (65_536, 65_535)]
        {
            let bytes: Vec<u8> = (0..length).map(|n: u32| (n ^ (n >> 9)) as u8).collect();
            let before = place.files();
            let staged = stage_announced(&place.blobs, &bytes, Some(announced)).await;
            assert_eq!(staged.info().size, u64::from(length));
            let in_memory = place.files() == before;
            assert_eq!(in_memory, length < 65_536 && announced < 65_536, "{length}, {announced}");
            let (id, info) = (ArtifactId::random(), staged.info());
            place.blobs.adopt(staged, id).await.expect("adopts");
            assert!(place.blobs.verify(id, info).await.expect("reads"), "{length}, {announced}");
            assert_eq!(place.get(id, None).await.expect("reads"), bytes);
        }
        let kept = if place.s3.is_none() { 5 } else { 0 };
        assert_eq!(place.files(), kept, "no temporary file is left");
    }
}

#[tokio::test]
async fn an_abandoned_blob_leaves_nothing_behind() {
    for place in Place::both().await {
        let mut writer = place.blobs.begin(None);
        for _ in 0..2 {
            writer.write(vec![7; 1 << 20].into()).await.expect("writes");
        }
        assert_eq!(place.files(), 1);
        drop(writer);
        let gone = async {
            while place.files() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("is removed");
        drop(stage(&place.blobs, b"whole").await);
        assert_eq!(place.files(), 0);
    }
}

#[test]
fn a_slow_sender_occupies_no_thread() {
    let folder = tempfile::tempdir().expect("temp dir");
    let blobs = Blobs::open(folder.path()).expect("opens");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let mut slow = blobs.begin(None);
        for _ in 0..2 {
            slow.write(vec![7; 1 << 20].into()).await.expect("writes");
        }
        let other = async { blobs.begin(None).finish().await };
        let other = tokio::time::timeout(Duration::from_secs(20), other).await;
        other.expect("goes on beside it").expect("finishes");
    });
}

#[tokio::test]
async fn a_bucket_that_is_away_is_an_error_in_seconds_and_never_a_loss() {
    let place = Place::bucket().await;
    let id = ArtifactId::random();
    let info = place.put(id, b"a proof").await;
    for mood in [Mood::Away, Mood::Silent] {
        place.s3().be(mood);
        let began = Instant::now();
        let lost = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        assert!(!lost(place.blobs.metadata(id).await.expect_err("cannot be asked")));
        assert!(!lost(place.get(id, None).await.expect_err("cannot be asked")));
        assert!(!lost(place.blobs.verify(id, info).await.expect_err("cannot be asked")));
        assert!(!lost(place.blobs.remove(id).await.expect_err("cannot be asked")));
        let staged = stage(&place.blobs, b"another").await;
        place.blobs.adopt(staged, ArtifactId::random()).await.expect_err("cannot be sent");
        place.blobs.holds_any().await.expect_err("cannot be asked");
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        assert_eq!(place.files(), 0);
    }
    place.s3().be(Mood::Well);
    assert!(place.blobs.verify(id, info).await.expect("answers"));
}

#[tokio::test]
async fn a_bucket_that_is_gone_is_no_lost_proof() {
    let place = Place::bucket().await;
    let id = ArtifactId::random();
    let info = place.put(id, b"a proof").await;
    place.s3().set_bucket(false);
    let error = place.blobs.metadata(id).await.expect_err("cannot be asked");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
    assert!(place.get(id, None).await.is_err_and(|e| e.kind() != io::ErrorKind::NotFound));
    place.blobs.remove(id).await.expect_err("cannot be asked");
    place.s3().set_bucket(true);
    assert!(place.blobs.verify(id, info).await.expect("answers"));
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_refused_with_the_cause() {
    let (s3, folder) = (S3::start().await, tempfile::tempdir().expect("temp dir"));
    let refusal = async |change: &dyn Fn(&mut BucketSettings)| {
        let mut settings = settings(&s3);
        change(&mut settings);
        let error = Blobs::connect(folder.path(), &settings).await.expect_err("must be refused");
        let words = error.to_string();
        assert!(!words.contains('\n') && !words.contains(SECRET_ACCESS_KEY), "{words}");
        words
    };
    let error = refusal(&|settings| settings.bucket = "other".into()).await;
    assert!(error.contains("NoSuchBucket") && error.contains("create the bucket"), "{error}");
    let error = refusal(&|settings| {
        settings.keys = Some((Secret::from(ACCESS_KEY_ID), Secret::from("wrong")));
    })
    .await;
    assert!(
        error.contains("SignatureDoesNotMatch") && error.contains("correct the keys"),
        "{error}"
    );
    let nobody = "http://127.0.0.1:1";
    let error = refusal(&|settings| settings.endpoint = Some(nobody.into())).await;
    assert!(error.contains(nobody) && error.contains("refused"), "{error}");
    s3.be(Mood::Silent);
    let error = refusal(&|_| {}).await;
    assert!(error.contains("`s3_endpoint`"), "{error}");
    s3.be(Mood::Well);
    // What lies in the folder would be lost from sight.
    let in_folder = Blobs::open(folder.path()).expect("opens");
    let staged = stage(&in_folder, b"a proof").await;
    in_folder.adopt(staged, ArtifactId::random()).await.expect("adopts");
    let error = refusal(&|_| {}).await;
    assert!(error.contains("copy each file into the bucket"), "{error}");
}

#[tokio::test]
async fn https_is_never_left_for_plain_http() {
    let (s3, folder) = (S3::start().await, tempfile::tempdir().expect("temp dir"));
    let mut settings = settings(&s3);
    settings.endpoint = Some(s3.endpoint().replace("http://", "https://"));
    Blobs::connect(folder.path(), &settings).await.expect_err("speaks no TLS");
}

#[tokio::test]
async fn a_digest_that_was_found_sound_is_not_read_again_unless_the_blob_has_changed() {
    let place = Place::folder();
    let id = ArtifactId([7; 16]);
    // Its digest is known from the bytes as they were written.
    let info = place.put(id, b"some bytes").await;
    let file = place.file(id);
    let written = fs::metadata(&file).expect("is there").modified().expect("a time");
    let write = |bytes: &[u8], time: SystemTime| {
        fs::write(&file, bytes).expect("writes");
        let opened = fs::File::options().write(true).open(&file).expect("opens");
        opened.set_modified(time).expect("sets the time");
    };
    let is_sound = async || place.blobs.verify_lately(id, info).await.expect("reads").is_some();
    let later = written + Duration::from_secs(1);
    // Neither size nor time show the change, so this shows that the bytes are not read.
    write(b"same bytes", written);
    assert!(is_sound().await, "remembered");
    write(b"same bytes", later);
    assert!(!is_sound().await, "another time");
    write(b"some bytes", later);
    assert!(is_sound().await, "read again");
    write(b"same bytes", later);
    assert!(is_sound().await, "remembered again");
    fs::write(&file, b"some").expect("writes");
    assert!(!is_sound().await, "another size");
    fs::remove_file(&file).expect("removes");
    assert!(!is_sound().await, "missing");
}

#[tokio::test]
async fn a_blob_is_read_in_small_pieces_at_first_and_while_room_is_short() {
    const LARGE: usize = 256 * 1024;
    let place = Place::folder();
    let id = ArtifactId([8; 16]);
    let bytes: Vec<u8> = (0..3_u32 << 18).map(|n| u8::try_from(n % 251).expect("small")).collect();
    place.put(id, &bytes).await;
    for (ample, second) in [(true, LARGE), (false, 16 * 1024)] {
        let read = place.blobs.read_while(id, None, Arc::new(move || ample)).await;
        let chunks: Vec<Bytes> = read.expect("opens").try_collect().await.expect("reads");
        assert_eq!((chunks[0].len(), chunks[1].len()), (16 * 1024, second));
        assert!(chunks.concat() == bytes);
    }
    let part = place.get(id, Some(5..40_000)).await.expect("reads");
    assert!(part == bytes[5..40_000]);
}
