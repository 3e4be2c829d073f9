//! Limits on untrusted peers: `[limits]`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Minimum of `max_head_bytes`: hyper reads in pieces of this size.
const MIN_HEAD: u32 = 8192;

/// Minimum of `upload_window`: a stall of a second does not make a link slow.
const MIN_WINDOW: Duration = Duration::from_secs(1);

/// Section `[limits]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsConfig {
    /// Most connections on both ports together. Default 20,000: room for 10,000 Contemplants, their
    /// transfers and clients. Lowered at the start to what the system's limit of open files allows.
    pub max_connections: NonZeroUsize,
    /// Most connections from one IPv4 address or one IPv6 /64 network; 0 = no limit. Default 2000: a fleet
    /// behind one address.
    pub max_connections_per_address: usize,
    /// Most TLS handshakes at once, and most connections that are a WebSocket but have not said who they
    /// are. One address may have a quarter of each, unless `max_connections_per_address` is 0. Default 2000.
    pub max_handshakes: NonZeroUsize,
    /// How long a TLS handshake, and the first message of a WebSocket, may take. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub handshake_time: Duration,
    /// How long the head of a request may take, and the first byte of a connection. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub head_time: Duration,
    /// Largest head of a request in bytes. Default 32 KiB.
    pub max_head_bytes: u32,
    /// Most header fields of a request. Default 100.
    pub max_header_fields: NonZeroUsize,
    /// How long a connection may stay open without a request. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub idle_time: Duration,
    /// How long a peer may take nothing of what is sent to it. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub stall_time: Duration,
    /// Most requests at once over one HTTP/2 connection. Default 200.
    pub http2_streams: NonZeroU32,
    /// Most requests that one HTTP/2 connection may have reset, each before it was looked at or by a fault of
    /// the peer's. Default 100.
    pub http2_resets: NonZeroUsize,
    /// How long a gRPC call, a call of `/api/v1` and a status page may take. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub rpc_deadline: Duration,
    /// Bytes a second that a sender must reach on average over `upload_window`; 0 = only silence is cut. Default
    /// 16 KiB: a link of 128 kbit/s, on which 100 MB take 100 minutes, still passes.
    pub min_upload_rate: u64,
    /// Over what time the rate of an upload is taken, and how long a sender may be silent. Only waiting for
    /// the sender counts, not for our own disk. Default 1 min: a new upload has so long to begin.
    #[serde(with = "humantime_serde")]
    pub upload_window: Duration,
    /// Most uploads of clients at once, and as many of Contemplants. Default 1024: each holds a file open.
    pub max_uploads: NonZeroUsize,
    /// Most listeners of `/api/v1/events` at once. Default 256.
    pub max_event_streams: NonZeroUsize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_connections: const { NonZeroUsize::new(20_000).expect("not zero") },
            max_connections_per_address: 2000,
            max_handshakes: const { NonZeroUsize::new(2000).expect("not zero") },
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(10),
            max_head_bytes: 32 << 10,
            max_header_fields: const { NonZeroUsize::new(100).expect("not zero") },
            idle_time: Duration::from_secs(120),
            stall_time: Duration::from_secs(120),
            http2_streams: const { NonZeroU32::new(200).expect("not zero") },
            http2_resets: const { NonZeroUsize::new(100).expect("not zero") },
            rpc_deadline: Duration::from_secs(30),
            min_upload_rate: 16 * 1024,
            upload_window: Duration::from_secs(60),
            max_uploads: const { NonZeroUsize::new(1024).expect("not zero") },
            max_event_streams: const { NonZeroUsize::new(256).expect("not zero") },
        }
    }
}

impl LimitsConfig {
    /// Checks the section.
    pub(super) fn validate(&self, faults: &mut Faults) {
        for (key, time) in [
            ("limits.handshake_time", self.handshake_time),
            ("limits.head_time", self.head_time),
            ("limits.idle_time", self.idle_time),
            ("limits.stall_time", self.stall_time),
            ("limits.rpc_deadline", self.rpc_deadline),
        ] {
            if time.is_zero() {
                faults.add(key, "is 0, so no call could be served: expected a time like \"10s\"");
            }
        }
        if self.max_head_bytes < MIN_HEAD {
            faults.add(
                "limits.max_head_bytes",
                format!("is too small: expected at least {MIN_HEAD}, the size of one read"),
            );
        }
        if self.upload_window < MIN_WINDOW {
            faults.add(
                "limits.upload_window",
                "is shorter than a second: expected a time like \"1m\"",
            );
        }
    }
}
