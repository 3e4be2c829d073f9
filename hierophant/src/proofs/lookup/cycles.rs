//! Cycles that clients have used within a day, remembered for a while.
//!
//! The store adds them up over all requests of a day, which takes a second for a million. A sum is therefore kept for
//! [`AGE_FACTOR`] times as long as its reading took, and callers that come meanwhile get the earlier one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hierophant_model::clients::{Client, Clients};
use hierophant_model::records::Millis;
use hierophant_store::{JobStore, StoreError};
use parking_lot::Mutex;
use tokio::time::Instant;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Age of a sum, as a multiple of the time that its reading took.
const AGE_FACTOR: u32 = 20;

/// Maximum age of a sum.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Maximum number of clients that are remembered.
const MAX_CLIENTS: usize = 10_000;

/// Sums of the cycles of a day, by client.
#[derive(Debug, Default)]
pub(super) struct DailyCycles(Mutex<BTreeMap<Client, Sum>>);

#[derive(Debug, Clone, Copy)]
struct Sum {
    cycles: u64,
    /// Until when it counts.
    until: Instant,
}

impl DailyCycles {
    /// Cycles that a client has used within a day.
    pub(super) async fn executed(
        &self,
        store: &Arc<dyn JobStore>,
        clients: &Clients,
        client: &Client,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let started = Instant::now();
        if let Some(cycles) = self.remembered(client, started) {
            return Ok(cycles);
        }
        let since = Millis(now.0.saturating_sub(DAY_MS));
        let cycles = store.cycles_executed(&clients.records(client), since, now).await?;
        let age = (started.elapsed() * AGE_FACTOR).min(MAX_AGE);
        self.remember(client.clone(), Sum { cycles, until: Instant::now() + age });
        Ok(cycles)
    }

    /// The sum of a client, if it still counts. The first caller after that gets none and reads it again; others
    /// get the earlier one for as long as a reading may take.
    fn remembered(&self, client: &Client, now: Instant) -> Option<u64> {
        let mut sums = self.0.lock();
        let sum = sums.get_mut(client)?;
        if sum.until > now {
            return Some(sum.cycles);
        }
        sum.until = now + MAX_AGE / AGE_FACTOR;
        None
    }

    fn remember(&self, client: Client, sum: Sum) {
        let mut sums = self.0.lock();
        if sums.len() >= MAX_CLIENTS {
            let now = Instant::now();
            sums.retain(|_, sum| sum.until > now);
            if sums.len() >= MAX_CLIENTS {
                sums.clear();
            }
        }
        sums.insert(client, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64) -> Client {
        let mut address = [0; 20];
        address[..8].copy_from_slice(&number.to_be_bytes());
        Client::Address(address.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_sum_counts_for_a_while_and_then_one_caller_reads_it_again() {
        let cycles = DailyCycles::default();
        let (now, alice) = (Instant::now(), client(1));
        assert_eq!(cycles.remembered(&alice, now), None);
        cycles.remember(alice.clone(), Sum { cycles: 7, until: now + Duration::from_secs(2) });
        assert_eq!(cycles.remembered(&alice, now), Some(7));
        let later = now + Duration::from_secs(2);
        assert_eq!(cycles.remembered(&alice, later), None, "this caller reads");
        assert_eq!(cycles.remembered(&alice, later), Some(7), "this one does not wait for it");
        assert_eq!(cycles.remembered(&alice, later + MAX_AGE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_clients_takes_bounded_memory() {
        let cycles = DailyCycles::default();
        let until = Instant::now() + Duration::from_secs(60);
        for number in 0..3 * u64::try_from(MAX_CLIENTS).expect("small") {
            cycles.remember(client(number), Sum { cycles: 1, until });
        }
        assert!(cycles.0.lock().len() <= MAX_CLIENTS);
    }
}
