//! Files that are read piece by piece, on the blocking pool.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;

use super::{Ample, ByteStream};

/// Size of a read. Each read wakes a thread, which would dominate with smaller reads.
const CHUNK: usize = 256 * 1024;

/// Size of the first read: what an answer holds before its reader has shown that it reads.
const FIRST_CHUNK: usize = 16 * 1024;

/// What is left of a file that is being read.
struct Part {
    file: File,
    left: u64,
}

impl Part {
    /// Reads at most `size` bytes; also returns the rest, if there is one.
    fn read(mut self, size: usize) -> io::Result<(Bytes, Option<Self>)> {
        let size = self.left.min(size as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        (&mut self.file).take(size).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= size;
        Ok((Bytes::from(bytes), (self.left > 0).then_some(self)))
    }
}

/// Bytes of the file that `open` opens, or of a range: a first small piece, then pieces that are large while `ample`.
pub(in crate::artifacts) async fn read(
    open: impl FnOnce() -> io::Result<File> + Send + 'static,
    range: Option<Range<u64>>,
    ample: Ample,
) -> io::Result<ByteStream> {
    let (start, length) = match range {
        Some(range) => (range.start, range.end.saturating_sub(range.start)),
        None => (0, u64::MAX),
    };
    let (first, rest) = blocking(move || {
        let mut file = open()?;
        file.seek(SeekFrom::Start(start))?;
        let left = file.metadata()?.len().saturating_sub(start).min(length);
        Part { file, left }.read(FIRST_CHUNK)
    })
    .await?;
    let rest = stream::try_unfold(rest, move |rest| {
        let size = if ample() { CHUNK } else { FIRST_CHUNK };
        async move {
            let Some(rest) = rest else { return Ok(None) };
            blocking(move || rest.read(size).map(Some)).await
        }
    });
    Ok(stream::once(std::future::ready(Ok(first))).chain(rest).boxed())
}

/// Runs disk work on the blocking pool.
pub(in crate::artifacts) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
