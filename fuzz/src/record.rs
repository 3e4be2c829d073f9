//! Rows of the database, which failing disks and other programs write to as well.

use std::sync::atomic::{AtomicUsize, Ordering};

use hierophant_store::rows::{ColumnError, Columns, artifact, attempt, job, program, request};
use hierophant_store::{read_sharding, read_task};

/// A row whose columns come from the bytes, in the order in which they are read: for each its length, then that
/// number of bytes; 255 means NULL.
struct Row {
    bytes: Vec<u8>,
    at: AtomicUsize,
}

impl Row {
    fn next(&self) -> Option<&[u8]> {
        let at = self.at.load(Ordering::Relaxed);
        let length = usize::from(*self.bytes.get(at)?);
        let start = at + 1;
        let end = if length == 255 { start } else { (start + length).min(self.bytes.len()) };
        self.at.store(end, Ordering::Relaxed);
        (length != 255).then(|| &self.bytes[start..end])
    }
}

impl Columns for Row {
    fn int(&self, _: &str) -> Result<Option<i64>, ColumnError> {
        let Some(bytes) = self.next() else { return Ok(None) };
        let mut whole = [0; 8];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(Some(i64::from_le_bytes(whole)))
    }

    fn text(&self, name: &str) -> Result<Option<String>, ColumnError> {
        let text = self.next().map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
        text.map_err(|_| format!("{name} holds no text").into())
    }

    fn bytes(&self, _: &str) -> Result<Option<Vec<u8>>, ColumnError> {
        Ok(self.next().map(<[u8]>::to_vec))
    }
}

/// The first byte chooses the kind of record. Bytes that are not a record are refused with a
/// reason. A record can be read twice, with the same result.
pub(crate) fn every_kind(bytes: &[u8]) -> bool {
    let Some((kind, columns)) = bytes.split_first() else { return false };
    let read = || {
        let row = Row { bytes: columns.to_vec(), at: AtomicUsize::new(0) };
        match kind % 7 {
            0 => job(&row).map(|record| format!("{record:?}")),
            1 => attempt(&row).map(|record| format!("{record:?}")),
            2 => request(&row).map(|record| format!("{record:?}")),
            3 => artifact(&row).map(|record| format!("{record:?}")),
            4 => program(&row).map(|record| format!("{record:?}")),
            5 => read_sharding(&row).map(|record| format!("{record:?}")),
            _ => read_task(&row).map(|record| format!("{record:?}")),
        }
        .map_err(|error| error.to_string())
    };
    let found = read();
    assert_eq!(found, read(), "the same row reads differently");
    let Err(reason) = found else { return true };
    assert!(!reason.is_empty(), "refused without a reason");
    false
}
