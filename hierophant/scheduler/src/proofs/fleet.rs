//! All workers, indexed by what they can take.
//!
//! Everything that changes a worker goes through [`Workers::get_mut`], [`Workers::insert`] and [`Workers::remove`], or
//! is announced by [`Workers::touch`]. The index follows in [`Workers::update`], which looks at the changed workers
//! alone. Whether a worker may take work now is decided by [`Worker::takes_jobs`] and nowhere else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use network_lib::handshake::Backend;
use network_lib::ids::WorkerId;
use network_lib::job::ProofMode;
use network_lib::shard::Sharding;

use super::lease::Worker;
use super::memory::Room;
use super::need::{Need, SharedNeed};
use super::shards::ShardedJob;

/// Workers that take jobs of a need.
#[derive(Debug, Default)]
pub struct Offer {
    /// Those that have no free slot included.
    able: BTreeSet<WorkerId>,
    /// Those with free slots, most of them first.
    free: BTreeMap<(Reverse<usize>, WorkerId), (Backend, Room)>,
    /// Room of these.
    rooms: BTreeSet<(Backend, Room, WorkerId)>,
    /// Those with a free place ahead.
    free_ahead: BTreeSet<WorkerId>,
    /// Those that take jobs ahead.
    preparing: BTreeSet<WorkerId>,
}

impl Offer {
    /// Workers that support the need and accept jobs, now or once a slot is free.
    #[must_use]
    pub const fn able(&self) -> &BTreeSet<WorkerId> {
        &self.able
    }

    /// Those of them with a free slot, in the order of preference, with their room.
    pub fn free(&self) -> impl Iterator<Item = (usize, WorkerId, Backend, Room)> + '_ {
        self.free.iter().map(|((Reverse(free), id), (backend, room))| (*free, *id, *backend, *room))
    }

    /// Whether a worker has a free slot.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Backend and room of a worker, if it has a free slot.
    #[must_use]
    pub fn room_of(&self, id: WorkerId, worker: &Worker) -> Option<(Backend, Room)> {
        self.free.get(&(Reverse(worker.free_slots()), id)).copied()
    }

    /// Whether a worker has a free slot and room for a proof with this demand.
    #[must_use]
    pub fn has_room_for(&self, demand: impl Fn(Backend) -> Option<u64>) -> bool {
        let has_room = |backend: &Backend| {
            self.most_room(*backend).is_some_and(|room| room.fits(demand(*backend)))
        };
        Backend::ALL.iter().any(has_room)
    }

    /// Whether a worker has a free slot and room for any proof.
    #[must_use]
    pub fn has_room_for_any(&self) -> bool {
        Backend::ALL.iter().any(|backend| self.most_room(*backend) == Some(Room::Any))
    }

    /// The most room on a worker of this backend with a free slot.
    fn most_room(&self, backend: Backend) -> Option<Room> {
        let least = (backend, Room::Exceeded, WorkerId([0; 16]));
        let most = (backend, Room::Any, WorkerId([u8::MAX; 16]));
        self.rooms.range(least..=most).next_back().map(|(_, room, _)| *room)
    }

    /// Workers with a free place ahead.
    #[must_use]
    pub const fn free_ahead(&self) -> &BTreeSet<WorkerId> {
        &self.free_ahead
    }

    /// Workers that take jobs ahead, with and without a free place.
    #[must_use]
    pub const fn preparing(&self) -> &BTreeSet<WorkerId> {
        &self.preparing
    }
}

/// What the index knows about a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Indexed {
    needs: Vec<Need>,
    takes_jobs: bool,
    backend: Backend,
    free_slots: usize,
    room: Room,
    prefetch: usize,
    has_free_place: bool,
    begins: bool,
}

impl Indexed {
    fn new(worker: &Worker, room: Room) -> Self {
        let capabilities = &worker.capabilities;
        let takes_jobs = worker.takes_jobs();
        let inputs: &[bool] = if worker.private_inputs { &[false, true] } else { &[false] };
        let with_each_version = |mode| {
            let versions = capabilities.circuit_versions.iter();
            versions.flat_map(move |version| {
                inputs.iter().map(move |private| Need {
                    mode,
                    version: version.clone(),
                    private: *private,
                })
            })
        };
        let modes = capabilities.modes.iter().filter(|_| takes_jobs);
        Self {
            needs: modes.copied().flat_map(with_each_version).collect(),
            takes_jobs,
            backend: worker.backend(),
            free_slots: worker.free_slots(),
            room,
            prefetch: worker.most_attempts().saturating_sub(worker.slots()),
            has_free_place: worker.free_places_ahead() > 0,
            begins: worker.free_slots() > 0 && !worker.ahead.is_empty(),
        }
    }
}

/// All workers that are connected or may reconnect. Read access is as to a map.
#[derive(Debug, Default)]
pub struct Workers {
    all: BTreeMap<WorkerId, Worker>,
    /// Those that the index may not describe as they are.
    changed: BTreeSet<WorkerId>,
    index: BTreeMap<WorkerId, Indexed>,
    offers: BTreeMap<SharedNeed, Offer>,
    places_ahead: usize,
    /// Those that take jobs ahead.
    preparing: BTreeSet<WorkerId>,
    /// Those with a free slot and an attempt that is leased ahead.
    to_begin: BTreeSet<WorkerId>,
    /// Those to which an attempt is leased ahead.
    with_ahead: BTreeSet<WorkerId>,
    /// Those of them that have changed since [`Workers::take_to_judge`].
    to_judge: BTreeSet<WorkerId>,
    /// Those that take tasks.
    sharding: BTreeSet<WorkerId>,
    /// Those with a free place for a task that is not an execution.
    open_for_tasks: BTreeSet<WorkerId>,
    /// Those that can execute a program that is proved as tasks.
    open_for_executions: BTreeSet<WorkerId>,
    /// Those with running attempts and a free slot.
    shared: BTreeSet<WorkerId>,
}

/// What the tasks of a job demand of a worker.
#[derive(Debug, Clone, Copy)]
pub struct TaskShape<'a> {
    /// Its engine.
    pub engine: &'a str,
    /// Trace area of the shards, in cells.
    pub max_elements: u64,
    /// Kind of proof.
    pub mode: ProofMode,
    /// Whether the job's input is private, and with it the memory of the program in its records.
    pub private: bool,
}

impl<'a> TaskShape<'a> {
    /// The shape of a job's tasks on workers with an engine.
    #[must_use]
    pub const fn of(engine: &'a str, job: &ShardedJob, private: bool) -> Self {
        Self { engine, max_elements: job.max_elements(), mode: job.mode(), private }
    }

    /// What a worker that takes such tasks and may get the job's input offers, whether or not it takes any now.
    #[must_use]
    pub fn of_worker<'w>(&self, worker: &'w Worker) -> Option<&'w Sharding> {
        let sharding = worker.capabilities.sharding.as_ref()?;
        let fits = worker.may_get(self.private)
            && sharding.engine == self.engine
            && sharding.max_elements >= self.max_elements;
        fits.then_some(sharding)
    }
}

impl Workers {
    /// No workers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a worker.
    pub fn insert(&mut self, id: WorkerId, worker: Worker) {
        self.changed.insert(id);
        self.all.insert(id, worker);
    }

    /// Removes a worker.
    pub fn remove(&mut self, id: &WorkerId) -> Option<Worker> {
        self.changed.insert(*id);
        self.all.remove(id)
    }

    /// Access to a worker in order to change it.
    pub fn get_mut(&mut self, id: &WorkerId) -> Option<&mut Worker> {
        let found = self.all.get_mut(id)?;
        self.changed.insert(*id);
        Some(found)
    }

    /// Access to all workers in order to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.changed.extend(self.all.keys());
        self.all.values_mut()
    }

    /// Announces that an attempt of a worker has changed.
    pub fn touch(&mut self, id: WorkerId) {
        self.changed.insert(id);
    }

    /// Announces that the known memory demand of proofs has changed.
    pub fn touch_shared(&mut self) {
        self.changed.extend(&self.shared);
    }

    /// Brings the index up to date. `room` is a worker's room beside its running attempts.
    pub fn update(&mut self, room: impl Fn(&Worker) -> Room) {
        while let Some(id) = self.changed.pop_first() {
            let is_shared = |worker: &&Worker| !worker.leases.is_empty() && worker.free_slots() > 0;
            let worker = self.all.get(&id);
            let takes_tasks = worker.is_some_and(|worker| worker.capabilities.sharding.is_some());
            set(&mut self.sharding, id, takes_tasks);
            let task_places = worker.map_or(0, |worker| worker.task_places(true));
            let has_place = worker.is_some_and(|worker| worker.tasks.len() < task_places);
            set(&mut self.open_for_tasks, id, has_place);
            let executes = worker.is_some_and(|worker| !worker.executions.is_empty());
            set(&mut self.open_for_executions, id, task_places > 0 && !executes);
            let shared = worker.filter(is_shared);
            set(&mut self.shared, id, shared.is_some());
            let room = shared.map_or(Room::Any, &room);
            let now = worker.map(|worker| Indexed::new(worker, room));
            let has_ahead = worker.is_some_and(|worker| !worker.ahead.is_empty());
            set(&mut self.with_ahead, id, has_ahead);
            set(&mut self.to_judge, id, has_ahead);
            if self.index.get(&id) == now.as_ref() {
                continue;
            }
            if let Some(before) = self.index.remove(&id) {
                self.withdraw(id, &before);
            }
            if let Some(now) = now {
                self.offer(id, &now);
                self.index.insert(id, now);
            }
        }
    }

    fn offer(&mut self, id: WorkerId, worker: &Indexed) {
        let Indexed { backend, free_slots, room, prefetch, .. } = *worker;
        for need in &worker.needs {
            let offer = match self.offers.get_mut(need) {
                Some(offer) => offer,
                None => self.offers.entry(SharedNeed::new(need.clone())).or_default(),
            };
            offer.able.insert(id);
            if free_slots > 0 {
                offer.free.insert((Reverse(free_slots), id), (backend, room));
                offer.rooms.insert((backend, room, id));
            }
            set(&mut offer.free_ahead, id, worker.has_free_place);
            set(&mut offer.preparing, id, prefetch > 0);
        }
        if worker.takes_jobs {
            self.places_ahead = self.places_ahead.saturating_add(prefetch);
        }
        set(&mut self.preparing, id, prefetch > 0 && !worker.needs.is_empty());
        set(&mut self.to_begin, id, worker.begins);
    }

    fn withdraw(&mut self, id: WorkerId, worker: &Indexed) {
        for need in &worker.needs {
            let Some(offer) = self.offers.get_mut(need) else { continue };
            offer.able.remove(&id);
            offer.free.remove(&(Reverse(worker.free_slots), id));
            offer.rooms.remove(&(worker.backend, worker.room, id));
            offer.free_ahead.remove(&id);
            offer.preparing.remove(&id);
            if offer.able.is_empty() {
                self.offers.remove(need);
            }
        }
        if worker.takes_jobs {
            self.places_ahead = self.places_ahead.saturating_sub(worker.prefetch);
        }
        self.preparing.remove(&id);
        self.to_begin.remove(&id);
    }

    /// What the workers take, by need.
    pub fn offers(&self) -> impl Iterator<Item = (&SharedNeed, &Offer)> + '_ {
        self.offers.iter()
    }

    /// Workers that take jobs of this need.
    #[must_use]
    pub fn offer_for(&self, need: &Need) -> Option<&Offer> {
        self.offers.get(need)
    }

    /// Workers that take tasks of a job with this engine and shards of this trace area, at once or after other tasks, and may
    /// get its input. One that makes a whole proof does not count: that may take hours.
    pub fn takers<'a>(
        &'a self,
        shape: TaskShape<'a>,
    ) -> impl Iterator<Item = (WorkerId, &'a Worker, &'a Sharding)> {
        self.sharding().iter().filter_map(move |id| {
            let worker = self.get(id).filter(|worker| worker.task_places(true) > 0)?;
            Some((*id, worker, shape.of_worker(worker)?))
        })
    }

    /// Workers that take tasks, busy ones and absent ones included.
    #[must_use]
    pub const fn sharding(&self) -> &BTreeSet<WorkerId> {
        &self.sharding
    }

    /// Workers with a free place for a task; for an execution, which needs none, all that do not execute yet.
    #[must_use]
    pub const fn open_for_tasks(&self, execution: bool) -> &BTreeSet<WorkerId> {
        if execution { &self.open_for_executions } else { &self.open_for_tasks }
    }

    /// Number of jobs that the workers take ahead.
    #[must_use]
    pub const fn places_ahead(&self) -> usize {
        self.places_ahead
    }

    /// Number of workers that take jobs ahead.
    #[must_use]
    pub fn preparing(&self) -> usize {
        self.preparing.len()
    }

    /// Workers with a free slot and an attempt that is leased ahead.
    #[must_use]
    pub const fn to_begin(&self) -> &BTreeSet<WorkerId> {
        &self.to_begin
    }

    /// Workers to which an attempt is leased ahead.
    #[must_use]
    pub const fn with_ahead(&self) -> &BTreeSet<WorkerId> {
        &self.with_ahead
    }

    /// Those of them that have changed since the last call.
    pub fn take_to_judge(&mut self) -> BTreeSet<WorkerId> {
        std::mem::take(&mut self.to_judge)
    }
}

impl Deref for Workers {
    type Target = BTreeMap<WorkerId, Worker>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

fn set(workers: &mut BTreeSet<WorkerId>, id: WorkerId, is_one: bool) {
    if is_one {
        workers.insert(id);
    } else {
        workers.remove(&id);
    }
}
