//! Who is let in to both services before a call is looked at: not too many from one address, and by token.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Waker, Poll};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Request, Response};
use hierophant_model::subscriber::subscriber;
use lru::LruCache;
use ratelimit::{Builder, Ratelimiter, StdClock};
use tonic::Status;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use crate::api::ClientContext;
use crate::config::{AuthMode, CallsConfig};
use crate::tokens::{Bearer, Role, Tokens};

/// IP addresses whose rate is known; of more, the one that was silent longest is forgotten, and so forgiven.
const MOST_ADDRESSES: NonZeroUsize = const { NonZeroUsize::new(10_000).expect("not zero") };

/// What the gate guards; health and reflection say nothing about anybody.
const SERVICES: [&str; 2] = ["/network.ProverNetwork/", "/artifact.ArtifactStore/"];

/// Lets calls in, or answers them.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    token_needed: bool,
    tokens: Tokens,
    rate: Option<PerAddress>,
}

impl Gate {
    /// A gate by what is configured.
    #[must_use]
    pub(super) fn new(context: &ClientContext) -> Self {
        let token_needed = context.auth == AuthMode::Token;
        if token_needed && !context.tokens.any(Role::Client) {
            tracing::warn!(
                "nobody has a client token, so nobody is let in; make one: hierophant token create \
                 --role client --name NAME"
            );
        }
        let (tokens, rate) = (context.tokens.clone(), PerAddress::new(&context.calls));
        Self(Arc::new(Rules { token_needed, tokens, rate }))
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Bearer>, Status> {
        if !SERVICES.iter().any(|service| request.uri().path().starts_with(service)) {
            return Ok(None);
        }
        let peer = request.extensions().get::<TcpConnectInfo>();
        if let Some(address) = peer.and_then(TcpConnectInfo::remote_addr)
            && self.0.rate.as_ref().is_some_and(|rate| !rate.admit(address.ip()))
        {
            return Err(Status::unavailable(
                "too many calls from this IP address; try again later",
            ));
        }
        let bearer = match token(request.headers()) {
            None if self.0.token_needed => {
                return Err(Status::unauthenticated("this network wants a bearer token"));
            }
            None => None,
            Some(secret) => {
                let bearer = self.0.tokens.bearer(secret).filter(|it| it.role == Role::Client);
                // Whoever shows a token wants to be known by it, also where none is needed.
                Some(bearer.ok_or_else(|| {
                    Status::unauthenticated("this is no client's token here, or it was revoked")
                })?)
            }
        };
        Ok(bearer)
    }
}

/// What follows `Bearer ` in the metadata, if that is there; other schemes are none of ours.
fn token(headers: &HeaderMap) -> Option<&str> {
    // Bytes that are no text are nobody's token.
    let value = headers.get(AUTHORIZATION)?.to_str().unwrap_or("Bearer ");
    let (scheme, secret) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then_some(secret)
}

/// How often each [`subscriber`] has called.
#[derive(Debug)]
struct PerAddress {
    per_second: u64,
    burst: u64,
    known: Mutex<LruCache<IpAddr, Ratelimiter>>,
}

impl PerAddress {
    fn new(config: &CallsConfig) -> Option<Self> {
        let (per_second, burst) = (config.per_ip_per_second, config.per_ip_burst);
        let known = Mutex::new(LruCache::new(MOST_ADDRESSES));
        (per_second > 0).then_some(Self { per_second, burst, known })
    }

    fn admit(&self, address: IpAddr) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || self.builder().build();
        match known.try_get_or_insert(subscriber(address), fresh) {
            Ok(limiter) => limiter.try_wait().is_ok(),
            Err(error) => {
                tracing::error!(%error, "calls are not counted");
                true
            }
        }
    }

    fn builder(&self) -> Builder<StdClock> {
        Ratelimiter::builder(self.per_second).max_tokens(self.burst).initial_available(self.burst)
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.clone() }
    }
}

/// A service behind the gate. Whoever shows a valid token goes on with its [`Bearer`] as an extension.
#[derive(Debug, Clone)]
pub(super) struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S, A, B> Service<Request<A>> for Gated<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Default + Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, waker: &mut Waker<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(waker)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        match self.gate.admit(&request) {
            Ok(bearer) => {
                if let Some(bearer) = bearer {
                    request.extensions_mut().insert(bearer);
                }
                Box::pin(self.inner.call(request))
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn rate(per_ip_per_second: u64, per_ip_burst: u64) -> Option<PerAddress> {
        let calls = CallsConfig { per_ip_per_second, per_ip_burst, ..CallsConfig::default() };
        PerAddress::new(&calls)
    }

    #[test]
    fn each_ip_address_has_its_own_burst() {
        let rate = rate(1, 3).expect("limited");
        let admitted = |text: &str| rate.admit(text.parse().expect("an address"));
        for _ in 0..3 {
            assert!(admitted("10.0.0.1"));
        }
        assert!(!admitted("10.0.0.1"));
        assert!(!admitted("::ffff:10.0.0.1"), "the same address, written otherwise");
        assert!(admitted("10.0.0.2"));
    }

    #[test]
    fn a_machine_with_many_ipv6_addresses_is_one() {
        let rate = rate(1, 1).expect("limited");
        assert!(rate.admit("2001:db8::1".parse().expect("an address")));
        assert!(!rate.admit("2001:db8::2".parse().expect("an address")));
        assert!(rate.admit("2001:db8:0:1::1".parse().expect("an address")));
    }

    #[test]
    fn addresses_that_come_and_go_take_no_more_memory() {
        let rate = rate(1, 1).expect("limited");
        for number in 0..20_000_u32 {
            assert!(rate.admit(IpAddr::V4(number.into())));
        }
        assert_eq!(rate.known.lock().expect("whole").len(), MOST_ADDRESSES.get());
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert!(rate(0, 1).is_none());
    }

    #[test]
    fn a_token_is_what_follows_bearer() {
        let read = |value: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header"));
            token(&headers).map(str::to_owned)
        };
        assert_eq!(read(b"Bearer abc").as_deref(), Some("abc"));
        assert_eq!(read(b"bearer abc").as_deref(), Some("abc"));
        assert_eq!(read(b"Bearer").as_deref(), Some(""));
        assert_eq!(read(b"Basic abc"), None);
        assert_eq!(read(b"\xff").as_deref(), Some(""));
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
