//! Rates of requests by address, on each port.
//!
//! Each request is charged to the address of its peer. A gRPC call beyond the burst is refused, and charged all the same
//! ([`BeyondRate`]). The connections of an address that goes on regardless are read later: what it sends waits in its own
//! buffers, and costs nothing here. Only some of its connections may wait, because one that waits does not notice that
//! its peer has left; the others are closed. On the HTTP port nothing is refused, and reading waits at once.
//!
//! Bodies of uploads and sockets of workers are always read: a slow upload would be cut, and silence of a worker ends its
//! attempts.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{Request, StatusCode};
use hierophant_model::subscriber::subscriber;
use hyper::body::Body;
use network_lib::ids::random_bytes;
use network_lib::wire::WEBSOCKET_PATH;
use tokio::time::Instant;

use super::Port;
use super::limiter::{ConnectionLimiter, ConnectionPermit};
use crate::config::CallsConfig;
use crate::metrics::{Cut, Metrics, Paused};
use crate::rate_limit::KeyedRateLimiter;

/// Maximum number of addresses whose rate is tracked.
const MAX_ADDRESSES: usize = 10_000;

/// What a list of requests counts for, and a call whose caller does not wait for the answer: both cost much more than they
/// cost the caller, and no SDK needs them.
const DEAR: u32 = 10;

/// Path of lists of requests.
const LIST: &str = "/network.ProverNetwork/GetFilteredProofRequests";

/// Beginning of the paths of workers' transfers.
const LEASES: &str = "/leases/";

/// Minimum number of calls beyond the burst that are refused before reading waits.
const MIN_OVERDRAFT: u32 = 20;

/// Time that an address may owe: the longest wait, up to its random part, and the time until it is served as before.
const MOST_OWED: Duration = Duration::from_secs(5);

/// Maximum number of connections that wait on one port.
const MAX_WAITING: usize = 4096;

/// Maximum number of connections of one address that wait on one port.
const MAX_WAITING_OF_ADDRESS: usize = 64;

/// Minimum burst of the HTTP port: a page of the dashboard and a fleet that connects make this many requests at once.
const MIN_HTTP_BURST: u32 = 100;

/// An HTTP request for each proof has at least this many gRPC calls.
const CALLS_FOR_REQUEST: u32 = 4;

/// Marker in the extensions of a call beyond the rate of its address.
#[derive(Debug, Clone, Copy)]
pub struct BeyondRate;

/// Rates of both ports; none if they are not limited.
#[derive(Debug)]
pub(super) struct Rates(Option<[Arc<Rate>; 2]>);

/// Rate of each address on a port.
#[derive(Debug)]
struct Rate {
    limiter: KeyedRateLimiter<IpAddr>,
    /// How much an address may owe until its connections are read later.
    overdraft: u32,
    waiting: ConnectionLimiter,
    label: Paused,
    metrics: Metrics,
}

impl Rates {
    /// Rates as configured. The HTTP port has a quarter of the rate, and the burst of one second of calls, at least
    /// [`MIN_HTTP_BURST`].
    pub(super) fn new(config: &CallsConfig, metrics: &Metrics) -> Self {
        let [per_second, burst] = [config.per_ip_per_second, config.per_ip_burst]
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let Some(period) = Duration::from_secs(1).checked_div(per_second) else {
            return Self(None);
        };
        let rate = |burst, period, overdraft, label| {
            let limiter = KeyedRateLimiter::new(burst, period, MAX_ADDRESSES);
            let waiting = ConnectionLimiter::fair(MAX_WAITING, MAX_WAITING_OF_ADDRESS);
            Arc::new(Rate { limiter, overdraft, waiting, label, metrics: metrics.clone() })
        };
        let overdraft = MIN_OVERDRAFT.max(per_second / 2);
        let of_grpc = rate(burst, period, overdraft, Paused::Grpc);
        let http_burst = per_second.max(MIN_HTTP_BURST);
        let of_http = rate(http_burst, period * CALLS_FOR_REQUEST, 0, Paused::Http);
        Self(Some([of_grpc, of_http]))
    }

    /// The pace of a new connection.
    pub(super) fn of(&self, port: Port, address: IpAddr) -> Pace {
        let rate = match (&self.0, port) {
            (None, _) | (_, Port::Local) => None,
            (Some([grpc, _]), Port::Grpc) => Some(Arc::clone(grpc)),
            (Some([_, http]), Port::Http) => Some(Arc::clone(http)),
        };
        let address = subscriber(address);
        Pace(rate.map(|rate| {
            let (has_waited, exempt) = (AtomicBool::new(false), AtomicUsize::new(0));
            Arc::new(Paced { rate, address, port, has_waited, exempt })
        }))
    }
}

/// The pace of one connection; clones share it. None if its port has no rate.
#[derive(Debug, Clone)]
pub(super) struct Pace(Option<Arc<Paced>>);

#[derive(Debug)]
struct Paced {
    rate: Arc<Rate>,
    address: IpAddr,
    port: Port,
    /// Whether it has waited since its last request.
    has_waited: AtomicBool,
    /// Number of requests during which the connection is read at once.
    exempt: AtomicUsize,
}

/// A pause of reading from a connection.
#[derive(Debug)]
pub(super) struct Pause {
    /// How long it is. The connections of an address do not go on together.
    pub(super) time: Duration,
    /// The place among those that wait; none if they are all taken.
    pub(super) place: Option<ConnectionPermit>,
}

impl Pace {
    /// The pause before the connection is read, if there is one: one for each request, so that handshakes and heads that
    /// need several reads are not delayed over and over.
    pub(super) fn pause(&self) -> Option<Pause> {
        let Paced { rate, address, has_waited, exempt, .. } = self.0.as_deref()?;
        if exempt.load(Ordering::Relaxed) > 0 || has_waited.load(Ordering::Relaxed) {
            return None;
        }
        let wait = rate.limiter.wait(address, rate.overdraft, Instant::now())?;
        let [part] = random_bytes();
        let time = wait + wait * u32::from(part) / 256;
        let place = rate.waiting.take(*address).ok();
        match place {
            Some(_) => rate.metrics.reading_paused(rate.label),
            None => rate.metrics.connection_cut(Cut::Rate),
        }
        Some(Pause { time, place })
    }

    /// Marks that the connection has waited for the whole pause.
    pub(super) fn waited(&self) {
        if let Some(paced) = self.0.as_deref() {
            paced.has_waited.store(true, Ordering::Relaxed);
        }
    }

    /// Charges a request that has arrived.
    pub(super) fn begin<B: Body>(&self, request: &Request<B>) -> Charge {
        let path = request.uri().path();
        let kind = match self.0.as_deref().map(|paced| paced.port) {
            None => return Charge(None),
            Some(Port::Grpc) if path == LIST => Kind::List,
            Some(Port::Grpc) => Kind::Call,
            Some(_) if path == WEBSOCKET_PATH || path.starts_with(LEASES) => Kind::Worker,
            Some(_) if !request.body().is_end_stream() => Kind::Upload,
            Some(_) => Kind::Call,
        };
        Charge(self.0.clone().map(|paced| Charged::new(paced, kind)))
    }
}

impl Paced {
    fn charge(&self, count: u32) {
        self.rate.limiter.charge(self.address, count, MOST_OWED, Instant::now());
    }
}

/// What a request is, as far as its charge is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    List,
    /// A request with a body that is received over the HTTP port.
    Upload,
    /// A request of a worker, which is charged if it is refused.
    Worker,
}

/// The charge for a request. Dropping it before the answer counts as a reset.
#[derive(Debug)]
pub(super) struct Charge(Option<Charged>);

#[derive(Debug)]
struct Charged {
    paced: Arc<Paced>,
    kind: Kind,
    is_beyond: bool,
    is_answered: bool,
    is_exempt: bool,
}

impl Charge {
    /// Whether the address had nothing left.
    pub(super) fn is_beyond(&self) -> bool {
        self.0.as_ref().is_some_and(|charged| charged.is_beyond)
    }

    /// Notes that the request has its answer.
    pub(super) fn answered(mut self, status: StatusCode) {
        let Some(charged) = &mut self.0 else { return };
        charged.is_answered = true;
        if charged.kind == Kind::Worker && status.is_client_error() {
            charged.paced.charge(1);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // A worker's socket, for as long as it is open.
            charged.is_exempt = false;
        }
    }
}

impl Charged {
    fn new(paced: Arc<Paced>, kind: Kind) -> Self {
        let Rate { limiter, .. } = &*paced.rate;
        paced.has_waited.store(false, Ordering::Relaxed);
        let is_beyond = limiter.wait(&paced.address, 0, Instant::now()).is_some();
        match kind {
            Kind::Call | Kind::Upload => paced.charge(1),
            Kind::List => paced.charge(DEAR),
            Kind::Worker => {}
        }
        let is_exempt = matches!(kind, Kind::Upload | Kind::Worker);
        if is_exempt {
            paced.exempt.fetch_add(1, Ordering::Relaxed);
        }
        Self { paced, kind, is_beyond, is_answered: false, is_exempt }
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        if self.is_exempt {
            self.paced.exempt.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.is_answered && self.kind == Kind::Call {
            self.paced.charge(DEAR - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;

    fn rates(per_ip_per_second: u64, per_ip_burst: u64) -> Rates {
        let calls = CallsConfig { per_ip_per_second, per_ip_burst, ..CallsConfig::default() };
        Rates::new(&calls, &Metrics::new())
    }

    fn get(path: &str) -> Request<Empty<&'static [u8]>> {
        Request::builder().uri(path).body(Empty::new()).expect("a request")
    }

    fn put(path: &str) -> Request<Full<&'static [u8]>> {
        Request::builder().uri(path).body(Full::new(b"bytes".as_slice())).expect("a request")
    }

    /// The pace of a connection from an address.
    fn pace(rates: &Rates, port: Port, address: &str) -> Pace {
        rates.of(port, address.parse().expect("an address"))
    }

    /// Makes a call that is answered, and says whether it is within the rate.
    fn call(pace: &Pace) -> bool {
        let charge = pace.begin(&get("/a"));
        let is_within = !charge.is_beyond();
        charge.answered(StatusCode::OK);
        is_within
    }

    #[test]
    fn each_ip_address_has_its_own_burst() {
        let rates = rates(1, 3);
        let admitted = |text: &str| call(&pace(&rates, Port::Grpc, text));
        for _ in 0..3 {
            assert!(admitted("10.0.0.1"));
        }
        assert!(!admitted("10.0.0.1"));
        assert!(!admitted("::ffff:10.0.0.1"), "the same address, written otherwise");
        assert!(admitted("10.0.0.2"));
        assert!(admitted("2001:db8::1") && admitted("2001:db8::2") && admitted("2001:db8::3"));
        assert!(!admitted("2001:db8::4"), "a machine with many addresses is one");
        assert!(admitted("2001:db8:0:1::1"));
    }

    /// It makes all its requests at once, of five calls each, and then polls each by two calls every two seconds.
    #[tokio::test(start_paused = true)]
    async fn a_proposer_with_a_hundred_open_requests_never_meets_the_default_rate() {
        let rates = rates(200, 2000);
        let (grpc, http) =
            (pace(&rates, Port::Grpc, "10.0.0.1"), pace(&rates, Port::Http, "10.0.0.1"));
        for _ in 0..100 {
            assert!((0..4).all(|_| call(&grpc)) && call(&http));
        }
        for second in 0..600 {
            assert!((0..100 * 2 / 2).all(|_| call(&grpc)), "{second}");
            assert!(grpc.pause().is_none() && http.pause().is_none());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_one_address_is_refused_and_then_waits() {
        let rates = rates(200, 2000);
        let grpc = pace(&rates, Port::Grpc, "10.0.0.1");
        let mut admitted = 0;
        let mut all = 0;
        while grpc.pause().is_none() {
            admitted += u32::from(call(&grpc));
            all += 1;
        }
        assert_eq!((admitted, all), (2000, 2100));
        let other = pace(&rates, Port::Grpc, "10.0.0.2");
        assert!(other.pause().is_none() && call(&other));
        for _ in 0..100_000 {
            call(&grpc);
        }
        let longest = grpc.pause().expect("a pause").time;
        assert!(longest >= MOST_OWED / 2 && longest < MOST_OWED * 2, "{longest:?}");
        tokio::time::advance(MOST_OWED + Duration::from_millis(5)).await;
        assert!(grpc.pause().is_none() && call(&grpc), "it is served again");
    }

    #[test]
    fn some_connections_of_an_address_wait_and_the_others_are_closed() {
        let rates = rates(1, 1);
        let pauses = |address: &str| -> Vec<Pause> {
            let pace = pace(&rates, Port::Http, address);
            while pace.pause().is_none() {
                call(&pace);
            }
            (0..100).map(|_| pace.pause().expect("a pause")).collect()
        };
        let placed = |pauses: &[Pause]| pauses.iter().filter(|pause| pause.place.is_some()).count();
        let first = pauses("10.0.0.1");
        let second = pauses("10.0.0.2");
        assert_eq!((placed(&first), placed(&second)), (64, 64));
        drop(first);
        assert_eq!(placed(&pauses("10.0.0.1")), 64, "places are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn lists_and_calls_without_patience_count_tenfold() {
        let rates = rates(1, 100);
        for is_list in [true, false] {
            let address = if is_list { "10.0.0.1" } else { "10.0.0.2" };
            let pace = pace(&rates, Port::Grpc, address);
            let mut admitted = 0;
            loop {
                let charge = pace.begin(&get(if is_list { LIST } else { "/a" }));
                if charge.is_beyond() {
                    break;
                }
                admitted += 1;
                if is_list {
                    charge.answered(StatusCode::OK);
                }
            }
            assert_eq!(admitted, 10, "{address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_and_workers_are_read_at_once_and_refused_workers_are_charged() {
        let rates = rates(1, 100);
        let http = pace(&rates, Port::Http, "10.0.0.1");
        assert!((0..MIN_HTTP_BURST).all(|_| call(&http)));
        assert!(http.pause().is_some(), "the burst is used up");
        let upload = http.begin(&put("/artifacts/1"));
        assert!(http.pause().is_none());
        upload.answered(StatusCode::OK);
        let owed = http.pause().expect("both are charged").time;
        for path in ["/ws", "/leases/1/stdin"] {
            http.begin(&get(path)).answered(StatusCode::OK);
        }
        assert!(http.pause().expect("as before").time < owed * 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..20 {
            http.begin(&get("/leases/1/stdin")).answered(StatusCode::NOT_FOUND);
        }
        assert!(http.pause().is_some(), "refused ones count");
        http.begin(&get("/ws")).answered(StatusCode::SWITCHING_PROTOCOLS);
        assert!(http.pause().is_none(), "an open socket is read");
    }

    #[test]
    fn a_connection_waits_once_for_each_request() {
        let rates = rates(1, 1);
        let http = pace(&rates, Port::Http, "10.0.0.1");
        while http.pause().is_none() {
            call(&http);
        }
        http.waited();
        assert!(http.pause().is_none(), "the rest of a handshake or head is read at once");
        call(&http);
        assert!(http.pause().is_some());
    }

    #[test]
    fn without_a_rate_and_for_operators_on_this_machine_nothing_waits() {
        for (rates, port) in [(rates(0, 1), Port::Grpc), (rates(1, 1), Port::Local)] {
            let pace = pace(&rates, port, "127.0.0.1");
            assert!((0..1000).all(|_| call(&pace)));
            assert!(pace.pause().is_none());
        }
    }

    #[test]
    fn many_addresses_take_bounded_memory() {
        let rates = rates(1, 1);
        for number in 0..20_000_u32 {
            assert!(call(&rates.of(Port::Grpc, IpAddr::V4(number.into()))));
        }
        let [grpc, _] = rates.0.as_ref().expect("limited");
        assert_eq!(grpc.limiter.keys(), MAX_ADDRESSES);
    }
}
