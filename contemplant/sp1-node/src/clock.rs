//! SP1's clock in a shard's record.

/// Reads the range of SP1's clock that a shard covers from the head of its record, without decoding the
/// megabytes that follow: variant and length of `TraceData::Core`, then of `TraceChunk` the registers, the program
/// counter and the clock's start and end.
pub(crate) fn clock_range(record: &[u8]) -> Option<(u64, u64)> {
    const START: usize = 4 + 8 + 32 * 8 + 8;
    if record.get(..4)? != [0; 4] {
        return None;
    }
    let word = |at: usize| {
        let bytes = record.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    Some((word(START)?, word(START + 8)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sp1_prover::worker::TraceData;

    use super::*;

    #[test]
    fn the_clock_is_found_where_this_version_of_sp1_writes_it() {
        let chunk = sp1_jit::TraceChunk {
            pc_start: 5,
            clk_start: 1_000,
            clk_end: 9_000,
            ..Default::default()
        };
        let chunk = bincode::serialize(&chunk).unwrap();
        let record = bincode::serialize(&TraceData::Core(chunk)).unwrap();
        assert_eq!(clock_range(&record), Some((1_000, 9_000)));
        assert_eq!(clock_range(&[]), None);
        assert_eq!(clock_range(&[0; 100]), None);
    }
}
