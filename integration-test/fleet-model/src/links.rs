//! Network links as pipes: each has a rate, and the transfers on it take turns by pieces.

use crate::clock::Micros;

/// Size of a piece in bytes. Transfers at the same time share a pipe by pieces.
pub(crate) const PIECE: u64 = 1 << 20;

/// One direction of a link.
#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    bytes_per_second: f64,
    free_at: Micros,
    busy: Micros,
}

impl Pipe {
    /// An idle pipe of a rate in Gbit/s.
    pub(crate) fn new(gigabits: f64) -> Self {
        Self { bytes_per_second: gigabits * 1e9 / 8.0, free_at: 0, busy: 0 }
    }

    /// Sends a piece behind what waits already. Returns when it has left the pipe.
    pub(crate) fn send(&mut self, now: Micros, bytes: u64) -> Micros {
        let took = (bytes as f64 / self.bytes_per_second * 1e6).ceil() as Micros;
        self.free_at = now.max(self.free_at) + took;
        self.busy += took;
        self.free_at
    }

    /// Time for which it was in use.
    pub(crate) const fn busy(&self) -> Micros {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_at_the_rate_of_the_pipe() {
        let mut pipe = Pipe::new(8.0);
        assert_eq!(pipe.send(5, 1_000_000), 1_005);
        assert_eq!(pipe.send(5, 2_000_000), 3_005);
        assert_eq!(pipe.send(10_000, 1_000_000), 11_000, "it was idle");
        assert_eq!(pipe.busy(), 4_000);
    }
}
