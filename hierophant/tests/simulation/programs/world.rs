//! A run: hosts, a storm of faults, a calm, a stop, and what must be true then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hierophant_model::records::Millis;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use turmoil::Sim;

use super::clients::{Asked, Plan};
use super::contemplants::Contemplant;
use super::content::FIRST_FAILING;
use super::ends;
use super::faults::{self, Fault};
use super::machine::Machine;
use super::network::{self, HIEROPHANT};
use super::operator::Operator;
use super::story::Story;

/// How far time goes at once; nothing arrives in between.
const TICK: Duration = Duration::from_millis(10);
/// How long a packet travels, in milliseconds, in good times and in bad ones.
const LATENCY: Range<u64> = 1..60;
const SLOW_LATENCY: Range<u64> = 100..1500;
/// How often every link gets another latency. Drawn by the clock and not by the packet, so that a run does
/// not change when the same bytes travel in other packets.
const WEATHER: Duration = Duration::from_millis(100);
/// How long everything accepted has to come to its end when the faults are over.
const CALM: Duration = Duration::from_secs(900);
/// How long what senders have left half-sent may lie about.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(120);
/// How long Hierophant may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// What was tried, and how it ended.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub seconds: u64,
    pub faults: usize,
    pub starts: usize,
    pub ends: ends::Ends,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.faults += other.faults;
        self.starts += other.starts;
        self.ends.add(&other.ends);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, faults, starts, ends } = self;
        write!(f, "{seconds} s, {faults} faults, {starts} starts of Hierophant, {ends}")
    }
}

/// What is done at a time.
#[derive(Debug, Clone)]
enum Step {
    Begin(Fault),
    End(Fault),
}

pub struct World {
    sim: Sim<'static>,
    machine: Rc<Machine>,
    contemplants: Vec<Contemplant>,
    asked: Vec<Asked>,
    operator: Operator,
    steps: BTreeMap<(Duration, usize), Step>,
    storm: Duration,
    faults: usize,
    rng: StdRng,
    peers: Vec<String>,
    /// Peers whose links are slow now.
    slow: BTreeSet<String>,
    next_weather: Duration,
    /// Hierophant is down on purpose; otherwise it is started again when it ends.
    down: bool,
    restart: Option<Duration>,
    pub story: Story,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let story = Story::default();
        let mut sim = builder(&mut rng).build();
        let storm = Duration::from_secs(rng.random_range(30..120));
        let machine = Rc::new(Machine::new(&mut rng, story.clone()));
        let host = Rc::clone(&machine);
        sim.host(HIEROPHANT, move || {
            let machine = Rc::clone(&host);
            async move { machine.run().await }
        });
        let contemplants: Vec<Contemplant> = (0..rng.random_range(1..4))
            .map(|number| Contemplant::draw(&mut rng, number, story.clone()))
            .collect();
        for contemplant in &contemplants {
            let host = contemplant.clone();
            sim.host(contemplant.name.as_str(), move || {
                let contemplant = host.clone();
                async move {
                    contemplant.run().await;
                    Ok(())
                }
            });
        }
        let mut peers: Vec<String> = contemplants.iter().map(|c| c.name.clone()).collect();
        let contents: Vec<u8> = (0..rng.random_range(2..8))
            .map(|_| if rng.random_bool(0.15) { FIRST_FAILING } else { rng.random_range(1..150) })
            .collect();
        let mut asked = Vec::new();
        for key in 1..=rng.random_range(1..4) {
            let name = format!("client-{key}");
            let asks: Vec<Asked> = (0..rng.random_range(1..6))
                .map(|n| {
                    let plan = Plan::draw(&mut rng, storm, &contents);
                    Asked::new(format!("{name}, request {n}"), plan, story.clone())
                })
                .collect();
            let hosted = asks.clone();
            sim.host(name.as_str(), move || {
                let channel = asks_over(hosted.clone(), key);
                async move {
                    channel.await;
                    Ok(())
                }
            });
            peers.push(name);
            asked.extend(asks);
        }
        let operator = Operator::default();
        let host = operator.clone();
        sim.host("operator", move || {
            let operator = host.clone();
            async move {
                operator.run().await;
                Ok(())
            }
        });
        peers.push("operator".into());
        let happenings = faults::draw(&mut rng, storm, &peers);
        let faults = happenings.len();
        let mut steps = BTreeMap::new();
        for (n, happening) in happenings.into_iter().enumerate() {
            steps.insert((happening.from, 2 * n), Step::Begin(happening.fault.clone()));
            steps.insert((happening.until, 2 * n + 1), Step::End(happening.fault));
        }
        Self {
            sim,
            machine,
            contemplants,
            asked,
            operator,
            steps,
            storm,
            faults,
            rng,
            peers,
            slow: BTreeSet::new(),
            next_weather: Duration::ZERO,
            down: false,
            restart: None,
            story,
        }
    }

    /// Lets a storm and then a calm pass, stops Hierophant, and checks the ends.
    pub fn run(&mut self) -> Tally {
        while self.sim.elapsed() < self.storm || !self.steps.is_empty() {
            self.step();
        }
        self.tell("the storm is over");
        let end = self.sim.elapsed() + CALM;
        while let Some(why) = self.unfinished() {
            assert!(self.sim.elapsed() < end, "not over: {why}");
            self.step();
        }
        self.tell("everything is over");
        let end = self.sim.elapsed() + LEFTOVERS_LIMIT;
        while self.leftovers() > 0 {
            assert!(self.sim.elapsed() < end, "{} uploads never end", self.leftovers());
            self.step();
        }
        self.down = true;
        self.machine.stop();
        let end = self.sim.elapsed() + STOP_LIMIT;
        while self.sim.is_host_running(HIEROPHANT) {
            assert!(self.sim.elapsed() < end, "Hierophant does not stop");
            self.step();
        }
        let ends = self.machine.ends(&self.asked);
        let (seconds, starts) = (self.sim.elapsed().as_secs(), self.machine.starts());
        Tally { seconds, faults: self.faults, starts, ends }
    }

    /// What is not over yet.
    fn unfinished(&self) -> Option<String> {
        let open = |asked: &&Asked| !asked.reported().is_over();
        let request = self.asked.iter().find(open).map(|asked| format!("{asked:?}"));
        let unsettled = || self.contemplants.iter().find_map(Contemplant::unsettled);
        let at_rest = |name| self.operator.has_seen_at_rest(name, self.storm);
        let busy = || self.contemplants.iter().find(|contemplant| !at_rest(&contemplant.name));
        request.or_else(unsettled).or_else(|| busy().map(|busy| format!("{} is busy", busy.name)))
    }

    /// How many uploads are half-written.
    fn leftovers(&self) -> usize {
        std::fs::read_dir(self.machine.leftovers()).expect("is there").count()
    }

    fn step(&mut self) {
        let now = self.sim.elapsed();
        if now >= self.next_weather {
            self.next_weather = now + WEATHER;
            for peer in &self.peers {
                let range = if self.slow.contains(peer) { SLOW_LATENCY } else { LATENCY };
                let latency = Duration::from_millis(self.rng.random_range(range));
                self.sim.set_link_latency(HIEROPHANT, peer.as_str(), latency);
            }
        }
        while let Some(first) = self.steps.first_entry()
            && first.key().0 <= now
        {
            match first.remove() {
                Step::Begin(fault) => {
                    self.tell(&format!("begins: {fault:?}"));
                    self.begin(&fault);
                }
                Step::End(fault) => {
                    self.tell(&format!("ends: {fault:?}"));
                    self.end(&fault);
                }
            }
        }
        if let Err(error) = self.sim.step() {
            panic!("{error}");
        }
        super::assert_no_panic();
        if !self.down && !self.sim.is_host_running(HIEROPHANT) {
            self.start_again();
        }
    }

    /// Restarts Hierophant a while after it has exited, as a service manager does.
    fn start_again(&mut self) {
        let now = self.sim.elapsed();
        match self.restart {
            None => {
                let pause = self.rng.random_range(200..3000);
                self.restart = Some(now + Duration::from_millis(pause));
            }
            Some(time) if time <= now => {
                self.restart = None;
                self.sim.bounce(HIEROPHANT);
            }
            Some(_) => {}
        }
    }

    fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::Crash(host) => {
                self.down |= host == HIEROPHANT;
                self.sim.crash(host.as_str());
            }
            Fault::Stop => {
                self.down = true;
                self.machine.stop();
            }
            Fault::BrokenStore => self.machine.break_store(true),
            Fault::Cut(peer) => self.sim.partition(HIEROPHANT, peer.as_str()),
            Fault::Mute(peer) => self.sim.partition_oneway(peer.as_str(), HIEROPHANT),
            Fault::Deaf(peer) => self.sim.partition_oneway(HIEROPHANT, peer.as_str()),
            Fault::Hold(peer) => self.sim.hold(HIEROPHANT, peer.as_str()),
            Fault::Slow(peer) => drop(self.slow.insert(peer.clone())),
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Crash(host) => {
                self.down &= host != HIEROPHANT;
                self.sim.bounce(host.as_str());
            }
            // Should it still be stopping, it is killed.
            Fault::Stop => {
                self.down = false;
                self.sim.bounce(HIEROPHANT);
            }
            Fault::BrokenStore => self.machine.break_store(false),
            Fault::Cut(peer) => self.sim.repair(HIEROPHANT, peer.as_str()),
            Fault::Mute(peer) => self.sim.repair_oneway(peer.as_str(), HIEROPHANT),
            Fault::Deaf(peer) => self.sim.repair_oneway(HIEROPHANT, peer.as_str()),
            Fault::Hold(peer) => self.sim.release(HIEROPHANT, peer.as_str()),
            Fault::Slow(peer) => drop(self.slow.remove(peer)),
        }
    }

    fn tell(&self, line: &str) {
        self.story.tell_at(self.sim.elapsed(), line);
    }
}

async fn asks_over(asks: Vec<Asked>, key: u8) {
    let channel = network::channel();
    let asks = asks.into_iter().map(|asked| asked.run(channel.clone(), key));
    futures_util::future::join_all(asks).await;
}

/// A simulated network, and its time as Hierophant's.
pub fn builder(rng: &mut StdRng) -> turmoil::Builder {
    // A fixed date before that of all files, so that none looks old.
    let epoch = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    Millis::live_by(|| {
        let elapsed = turmoil::since_epoch().expect("only hosts ask for the time");
        SystemTime::UNIX_EPOCH + elapsed
    });
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(rng.random())
        .epoch(epoch)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(24 * 3600))
        .tcp_capacity(1024);
    builder
}
