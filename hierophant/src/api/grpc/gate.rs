//! Access control in front of both gRPC services: call rate of each IP address, and access tokens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hierophant_model::subscriber::subscriber;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::server::TcpConnectInfo;

use super::stream_age;
use crate::api::ClientContext;
use crate::api::bearer::bearer;
use crate::config::{AuthMode, CallsConfig};
use crate::rate_limit::KeyedRateLimiter;
use crate::tokens::{Bearer, Role, Tokens};

/// Maximum number of IP addresses whose rate is tracked.
const MAX_ADDRESSES: usize = 10_000;

/// Services that may need a token. Health and reflection are public, but have a rate too.
const SERVICES: [&str; 2] = ["/network.ProverNetwork/", "/artifact.ArtifactStore/"];

/// Rules of the gate.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    token_required: bool,
    tokens: Tokens,
    rate: Option<Arc<KeyedRateLimiter<IpAddr>>>,
}

impl Gate {
    /// Rules as configured.
    #[must_use]
    pub(super) fn new(context: &ClientContext) -> Self {
        let token_required = context.auth == AuthMode::Token;
        if token_required && !context.tokens.any(Role::Client) {
            tracing::warn!(
                "all gRPC calls are rejected: `auth` is \"token\" and there is no client token; create \
                 one: hierophant token create --role client --name NAME"
            );
        }
        let (tokens, rate) = (context.tokens.clone(), rate(&context.calls).map(Arc::new));
        Self { token_required, tokens, rate }
    }

    /// The token of an admitted call, if it presents one.
    fn admit(&self, request: &Request) -> Result<Option<Bearer>, Status> {
        let peer = request.extensions().get::<TcpConnectInfo>();
        let peer = peer.and_then(TcpConnectInfo::remote_addr);
        if let (Some(rate), Some(peer)) = (&self.rate, peer) {
            rate.try_spend(subscriber(peer.ip()), Instant::now()).map_err(|_| {
                Status::unavailable("too many calls from this IP address; try again later")
            })?;
        }
        if is_public(request) {
            return Ok(None);
        }
        match bearer(request.headers()) {
            None if self.token_required => {
                Err(Status::unauthenticated("missing client token: expected a bearer token"))
            }
            None => Ok(None),
            // A presented token must be valid even if none is required.
            Some(secret) => match self.tokens.bearer(secret) {
                Some(bearer) if bearer.role == Role::Client => {
                    if let Some(peer) = peer {
                        self.tokens.used(bearer.id, peer.ip());
                    }
                    Ok(Some(bearer))
                }
                _ => Err(Status::unauthenticated("unknown or revoked client token")),
            },
        }
    }
}

/// Rejects a call, or passes it on with its [`Bearer`] as an extension.
pub(super) async fn admitted(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_public = is_public(&request);
    match gate.admit(&request) {
        Ok(bearer) => {
            if let Some(bearer) = bearer {
                request.extensions_mut().insert(bearer);
            }
            let response = next.run(request).await;
            if is_public { stream_age::bounded(response) } else { response }
        }
        Err(status) => status.into_http(),
    }
}

/// Whether a call needs no token in any mode.
fn is_public(request: &Request) -> bool {
    !SERVICES.iter().any(|service| request.uri().path().starts_with(service))
}

/// The configured rate of each IP address, unless that is unlimited.
fn rate(config: &CallsConfig) -> Option<KeyedRateLimiter<IpAddr>> {
    let [per_second, burst] = [config.per_ip_per_second, config.per_ip_burst]
        .map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let period = Duration::from_secs(1).checked_div(per_second)?;
    Some(KeyedRateLimiter::new(burst, period, MAX_ADDRESSES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(per_ip_per_second: u64, per_ip_burst: u64) -> Option<KeyedRateLimiter<IpAddr>> {
        let calls = CallsConfig { per_ip_per_second, per_ip_burst, ..CallsConfig::default() };
        rate(&calls)
    }

    fn admits(rate: &KeyedRateLimiter<IpAddr>, address: IpAddr, now: Instant) -> bool {
        rate.try_spend(subscriber(address), now).is_ok()
    }

    #[test]
    fn each_ip_address_has_its_own_burst() {
        let (rate, now) = (limited(1, 3).expect("limited"), Instant::now());
        let admitted = |text: &str| admits(&rate, text.parse().expect("an address"), now);
        for _ in 0..3 {
            assert!(admitted("10.0.0.1"));
        }
        assert!(!admitted("10.0.0.1"));
        assert!(!admitted("::ffff:10.0.0.1"), "the same address, written otherwise");
        assert!(admitted("10.0.0.2"));
    }

    #[test]
    fn a_machine_with_many_ipv6_addresses_is_one() {
        let (rate, now) = (limited(1, 1).expect("limited"), Instant::now());
        let admitted = |text: &str| admits(&rate, text.parse().expect("an address"), now);
        assert!(admitted("2001:db8::1"));
        assert!(!admitted("2001:db8::2"));
        assert!(admitted("2001:db8:0:1::1"));
    }

    #[test]
    fn many_addresses_take_bounded_memory() {
        let (rate, now) = (limited(1, 1).expect("limited"), Instant::now());
        for number in 0..20_000_u32 {
            assert!(admits(&rate, IpAddr::V4(number.into()), now));
        }
        assert_eq!(rate.keys(), MAX_ADDRESSES);
    }

    /// It makes all its requests at once, of five calls each, and then polls each by two calls every two seconds.
    #[test]
    fn a_proposer_with_a_hundred_open_requests_never_meets_the_default_rate() {
        let rate = rate(&CallsConfig::default()).expect("limited");
        let (address, began) = ("10.0.0.1".parse().expect("an address"), Instant::now());
        for _ in 0..100 * 5 {
            assert!(admits(&rate, address, began));
        }
        for second in 0..600 {
            for _ in 0..100 * 2 / 2 {
                assert!(admits(&rate, address, began + Duration::from_secs(second)), "{second}");
            }
        }
    }

    #[test]
    fn a_flood_from_one_address_meets_the_default_rate() {
        let rate = rate(&CallsConfig::default()).expect("limited");
        let (address, now) = ("10.0.0.1".parse().expect("an address"), Instant::now());
        let admitted = (0..100_000).filter(|_| admits(&rate, address, now)).count();
        assert_eq!(admitted, 2000);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert!(limited(0, 1).is_none());
    }
}
