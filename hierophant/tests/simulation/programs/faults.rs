//! Schedule of faults, drawn before a run starts.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Fault of limited duration. Hosts are identified by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The host crashes and restarts.
    Crash(String),
    /// Hierophant is asked to stop, and started again.
    Stop,
    /// Hierophant's store fails.
    BrokenStore,
    /// Everything between Hierophant and this host is lost.
    Cut(String),
    /// Everything that this host sends to Hierophant is lost.
    Mute(String),
    /// Everything that Hierophant sends to this host is lost.
    Deaf(String),
    /// Everything between Hierophant and this host is held.
    Hold(String),
    /// Everything between Hierophant and this host is slow.
    Slow(String),
}

#[derive(Debug, Clone)]
pub struct Happening {
    pub from: Duration,
    pub until: Duration,
    pub fault: Fault,
}

/// Draws the faults of a storm: those of Hierophant, and for each peer those of its link and, if it is a worker, of
/// itself. Faults of the same kind do not overlap.
pub fn draw(rng: &mut StdRng, storm: Duration, peers: &[String]) -> Vec<Happening> {
    let mut faults = Vec::new();
    one_after_another(rng, storm, 25, 12, &mut faults, |rng| match rng.random_range(0..4) {
        0 => Fault::Stop,
        1 => Fault::BrokenStore,
        _ => Fault::Crash(super::network::HIEROPHANT.into()),
    });
    for peer in peers {
        one_after_another(rng, storm, 20, 10, &mut faults, |rng| match rng.random_range(0..5) {
            0 => Fault::Cut(peer.clone()),
            1 => Fault::Mute(peer.clone()),
            2 => Fault::Deaf(peer.clone()),
            3 => Fault::Hold(peer.clone()),
            _ => Fault::Slow(peer.clone()),
        });
        if peer.starts_with("contemplant") {
            one_after_another(rng, storm, 40, 10, &mut faults, |_| Fault::Crash(peer.clone()));
        }
    }
    faults
}

/// Faults with pauses of up to twice `calm` seconds, each lasting up to `longest` seconds.
fn one_after_another(
    rng: &mut StdRng,
    storm: Duration,
    calm: u64,
    longest: u64,
    faults: &mut Vec<Happening>,
    fault: impl Fn(&mut StdRng) -> Fault,
) {
    let mut from = Duration::ZERO;
    loop {
        from += Duration::from_millis(rng.random_range(500..2000 * calm));
        if from >= storm {
            return;
        }
        let until =
            (from + Duration::from_millis(rng.random_range(200..1000 * longest))).min(storm);
        faults.push(Happening { from, until, fault: fault(rng) });
        from = until;
    }
}
