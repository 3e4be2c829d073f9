//! The archive: files of JSON lines, compressed with zstd.
//!
//! Each batch is a frame of its own, synced before its records are deleted; frames in a row are one valid file. A file is
//! written by one run of the program, so that a frame that a crash cut off is followed by nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use hierophant_model::records::Millis;
use serde_json::Value;

/// Level of compression: a tenth of the size of the lines, at some 100 MB/s.
const LEVEL: i32 = 3;

/// Owner may read and write.
const MODE: u32 = 0o600;

/// A folder of archive files.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    folder: PathBuf,
    /// Start of this run of the program, which distinguishes its files from others of the same day.
    started: Millis,
}

impl Archive {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, started: Millis::now() }
    }

    /// Appends lines to the file of the day; they are durable when this returns.
    pub(super) async fn append(&self, now: Millis, lines: Vec<Value>) -> io::Result<()> {
        let (folder, file) = (self.folder.clone(), self.file(now));
        let writing = tokio::task::spawn_blocking(move || append(&folder, &file, &lines));
        writing.await.map_err(io::Error::other)?
    }

    fn file(&self, now: Millis) -> PathBuf {
        let at = UNIX_EPOCH + Duration::from_millis(now.0.max(0).unsigned_abs());
        let time = humantime::format_rfc3339_seconds(at).to_string();
        let day = time.get(..10).unwrap_or_default();
        self.folder.join(format!("records-{day}-{}.jsonl.zst", self.started.0))
    }
}

fn append(folder: &Path, path: &Path, lines: &[Value]) -> io::Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    let frame = zstd::encode_all(&text[..], LEVEL)?;
    fs::create_dir_all(folder)?;
    let is_new = !path.exists();
    let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(&frame).and_then(|()| file.sync_all()) {
        // Half a frame would make what follows unreadable.
        file.set_len(before)?;
        return Err(error);
    }
    if is_new {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn batches_are_appended_to_the_file_of_their_day() {
        let folder = tempfile::tempdir().expect("temp dir");
        let archive = Archive { folder: folder.path().join("archive"), started: Millis(5) };
        const DAY: i64 = 24 * 3600 * 1000;
        for (at, number) in [(0, 1), (1, 2), (DAY, 3)] {
            archive.append(Millis(at), vec![json!({ "n": number })]).await.expect("writes");
        }
        let read = |name: &str| {
            let file = fs::File::open(archive.folder.join(name)).expect("exists");
            String::from_utf8(zstd::decode_all(file).expect("is zstd")).expect("is text")
        };
        assert_eq!(read("records-1970-01-01-5.jsonl.zst"), "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(read("records-1970-01-02-5.jsonl.zst"), "{\"n\":3}\n");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("archive");
        fs::write(&path, "in the way").expect("writes");
        let archive = Archive::new(path);
        archive.append(Millis(0), vec![json!({})]).await.expect_err("must fail");
    }
}
