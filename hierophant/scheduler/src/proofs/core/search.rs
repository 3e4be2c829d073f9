//! Search for the next job that gets a place ahead.

use hierophant_model::records::Millis;
use network_lib::ids::JobId;

use super::ProofsCore;
use super::decisions::{Decisions, Position};
use super::places::Given;
use crate::proofs::fleet::Offer;
use crate::proofs::need::SharedNeed;
use crate::proofs::queue::{Class, Group, QueueKey, Turn};

/// Job that gets a place, and its position in its class.
type Candidate = ((Turn, QueueKey), Given);

impl ProofsCore {
    /// The first job before `limit` that is not leased ahead and gets a place.
    pub(super) fn first_placed(
        &self,
        now: Millis,
        decisions: &mut Decisions,
        limit: Option<Position>,
    ) -> Option<(JobId, Given)> {
        for (number, class) in self.queue.classes() {
            let limit = match limit {
                Some((last, _)) if last < number => return None,
                Some((last, place)) if last == number => Some(place),
                _ => None,
            };
            let mut first: Option<Candidate> = None;
            for (need, offer) in self.workers.offers() {
                if offer.preparing().is_empty() {
                    continue;
                }
                let bound = first.map(|(place, _)| place).or(limit);
                let mut search =
                    Search { core: self, now, number, class, need, offer, bound, decisions };
                first = search.first_open().or(first);
                search.bound = first.map(|(place, _)| place).or(limit);
                first = search.first_choosy().or(first);
            }
            if let Some(((_, (.., job)), given)) = first {
                return Some((job, given));
            }
        }
        None
    }
}

/// Search for the first job of a class and a need that gets a place.
struct Search<'a> {
    core: &'a ProofsCore,
    now: Millis,
    number: u8,
    class: &'a Class,
    need: &'a SharedNeed,
    offer: &'a Offer,
    /// Only jobs before it.
    bound: Option<(Turn, QueueKey)>,
    decisions: &'a mut Decisions,
}

impl Search<'_> {
    /// The first of the jobs that may go to any worker.
    fn first_open(&mut self) -> Option<Candidate> {
        let own = self.first_of_next();
        if let Some((place, _)) = own {
            self.bound = Some(place);
        }
        let Some(all) = self.class.not_ahead(self.need, None) else { return own };
        let (number, class, need) = (self.number, self.class, self.need);
        let Some(place) = self.decisions.first_in(number, class, all, (need, None), 0) else {
            return own;
        };
        if self.is_out_of_reach(place) {
            return own;
        }
        if let Some(given) = self.core.place_for(self.now, place.1.2, self.decisions) {
            return Some((place, given));
        }
        // Jobs of one program and of requesters with as many jobs in progress are alike: one of each suffices.
        let mut first = own;
        for program in class.programs_not_ahead(need) {
            let Some(group) = class.not_ahead(need, Some(program)) else { continue };
            let mut busy = 0;
            while let Some(place) =
                self.decisions.first_in(number, class, group, (need, Some(program)), busy)
            {
                if self.is_out_of_reach(place) {
                    break;
                }
                if let Some(given) = self.core.place_for(self.now, place.1.2, self.decisions) {
                    first = Some((place, given));
                    self.bound = Some(place);
                    break;
                }
                busy = place.0.busy + 1;
            }
        }
        first
    }

    /// The first job of the requester whose place is decided next, if it precedes that.
    fn first_of_next(&mut self) -> Option<Candidate> {
        let ((number, (turn, _)), _) = self.decisions.first_undecided()?;
        if number != self.number {
            return None;
        }
        let of = |group: Option<&Group>| group.and_then(|group| group.first_of(turn.requester));
        let first = (turn, of(self.class.not_ahead(self.need, None))?);
        if self.bound.is_some_and(|bound| bound <= first) {
            return None;
        }
        if let Some(given) = self.core.place_for(self.now, first.1.2, self.decisions) {
            return Some((first, given));
        }
        let mut found: Option<Candidate> = None;
        for program in self.class.programs_not_ahead(self.need) {
            let Some(key) = of(self.class.not_ahead(self.need, Some(program))) else { continue };
            let bound = found.map(|(place, _)| place).or(self.bound);
            if bound.is_some_and(|bound| bound <= (turn, key)) {
                continue;
            }
            if let Some(given) = self.core.place_for(self.now, key.2, self.decisions) {
                found = Some(((turn, key), given));
            }
        }
        found
    }

    /// Whether neither this job nor a later one can get a place here: the bound precedes it, or no place is free and
    /// none is taken by a requester with more jobs in progress.
    fn is_out_of_reach(&self, place: (Turn, QueueKey)) -> bool {
        let is_late = self.bound.is_some_and(|bound| bound <= place);
        is_late
            || (self.offer.free_ahead().is_empty()
                && self.decisions.most_busy_undecided().is_none_or(|most| most <= place.0.busy))
    }

    /// The first of the jobs that are assigned one by one.
    fn first_choosy(&mut self) -> Option<Candidate> {
        let queue = &self.core.queue;
        let waiting = self.class.choosy(self.need).filter(|place| {
            self.core.jobs.get(&place.job()).is_some_and(|live| live.ahead.is_none())
        });
        let placed = waiting.filter_map(|place| {
            let turn = self.decisions.turn(queue, self.number, place.requester())?;
            Some((turn, place.key))
        });
        let mut places: Vec<(Turn, QueueKey)> = placed.collect();
        places.sort_unstable();
        for place in places {
            if self.bound.is_some_and(|bound| bound <= place) {
                break;
            }
            if let Some(given) = self.core.place_for(self.now, place.1.2, self.decisions) {
                return Some((place, given));
            }
        }
        None
    }
}
