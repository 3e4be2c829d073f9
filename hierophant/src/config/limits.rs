//! Limits on untrusted peers: `[limits]`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Minimum of `max_head_bytes`: hyper reads in pieces of this size.
const MIN_HEAD: u32 = 8192;

/// Minimum of `max_answer_bytes`: a quarter of it must hold the largest answer of one call.
const MIN_ANSWERS: usize = 32 << 20;

/// Minimum of `upload_window`: a stall of a second does not make a link slow.
const MIN_WINDOW: Duration = Duration::from_secs(1);

/// Section `[limits]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsConfig {
    /// Maximum number of connections on both ports together. Default 20,000: enough for 10,000 workers, their
    /// transfers and clients. Lowered at the start if the system's limit of open files is too low. One in eight is
    /// reserved for workers and operators.
    pub max_connections: NonZeroUsize,
    /// Maximum number of connections from one IPv4 address or one IPv6 /64 network; 0 = no limit. Default 2000: a
    /// fleet behind one address.
    pub max_connections_per_address: usize,
    /// Maximum number of pending TLS handshakes, and of WebSockets without a hello. One address may have a quarter of
    /// each, unless `max_connections_per_address` is 0. Default 2000.
    pub max_handshakes: NonZeroUsize,
    /// Timeout of a TLS handshake and of the first message of a WebSocket. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub handshake_time: Duration,
    /// Timeout of the first byte of a connection and of the head of a request. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub head_time: Duration,
    /// Maximum size of the head of a request in bytes. Default 32 KiB.
    pub max_head_bytes: u32,
    /// Maximum number of header fields of a request. Default 100.
    pub max_header_fields: NonZeroUsize,
    /// Time without a request after which a connection is closed. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub idle_time: Duration,
    /// Time after which a connection is closed if the peer stops reading. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub stall_time: Duration,
    /// Time after which an HTTP/2 connection is closed if the peer reads nothing of an answer from its beginning.
    /// Default 20 s.
    #[serde(with = "humantime_serde")]
    pub unread_time: Duration,
    /// Maximum number of bytes of answers that wait for their readers, on both ports together; a request in progress
    /// counts for 16 KiB. One address may have a quarter, unless `max_connections_per_address` is 0. Beyond the maximum,
    /// 64 KiB of each address are admitted, and a quarter of it for all addresses together. Default 64 MiB.
    pub max_answer_bytes: usize,
    /// Maximum number of concurrent requests over one HTTP/2 connection; at most 32 on the HTTP port. Default 200.
    pub http2_streams: NonZeroU32,
    /// Maximum number of requests that an HTTP/2 connection may reset before they are handled or by an error of the
    /// peer. Default 100.
    pub http2_resets: NonZeroUsize,
    /// Time limit of a gRPC call, a call of `/api/v1` and a status page. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub rpc_deadline: Duration,
    /// Minimum average rate of an upload over `upload_window`, in bytes per second; 0 = only silence ends an upload.
    /// Default 16 KiB: a link of 128 kbit/s, on which 100 MB take 100 minutes, still passes.
    pub min_upload_rate: u64,
    /// Period over which the rate of an upload is averaged, and maximum silence of a sender. Only the time waiting for
    /// the sender counts, not for our own disk. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub upload_window: Duration,
    /// Maximum number of concurrent uploads of clients, and the same number for workers. Default 1024: each holds a
    /// file open. One client address may have a quarter, unless `max_connections_per_address` is 0. An upload counts
    /// from its first byte, which must arrive within `head_time`.
    pub max_uploads: NonZeroUsize,
    /// Maximum number of concurrent downloads of clients and operators, and the same number for workers. Default 1024:
    /// each holds a file open. One client address may have a quarter, unless `max_connections_per_address` is 0.
    pub max_downloads: NonZeroUsize,
    /// Maximum number of concurrent listeners of `/api/v1/events`. Default 256.
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
            unread_time: Duration::from_secs(20),
            max_answer_bytes: 64 << 20,
            http2_streams: const { NonZeroU32::new(200).expect("not zero") },
            http2_resets: const { NonZeroUsize::new(100).expect("not zero") },
            rpc_deadline: Duration::from_secs(30),
            min_upload_rate: 16 * 1024,
            upload_window: Duration::from_secs(60),
            max_uploads: const { NonZeroUsize::new(1024).expect("not zero") },
            max_downloads: const { NonZeroUsize::new(1024).expect("not zero") },
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
            ("limits.unread_time", self.unread_time),
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
        if self.max_answer_bytes < MIN_ANSWERS {
            faults.add(
                "limits.max_answer_bytes",
                format!(
                    "is too small: expected at least {MIN_ANSWERS}, or large answers are never sent"
                ),
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
