//! Configuration of the Hierophant of a case.

use test_harness::config::{key, merge};
use toml::{Table, Value};

/// The suite's configuration with a case's own `keys`: quick heartbeats, so that a case about silence need not
/// wait long; patience with scripted workers that are silent because nothing asks them to speak; a low-water mark
/// that the machine's own disk is above; a start that is refused soon; no limit of calls, because all observers poll from one address.
pub(crate) fn with(keys: &Table) -> Table {
    let mut table = key("mock_mode", true);
    for (name, value) in [
        ("worker_registry.heartbeat_interval", Value::from("500ms")),
        ("worker_registry.silence_limit", Value::from("30s")),
        ("storage.min_free_bytes", Value::from(1 << 20)),
        ("calls.per_ip_per_second", Value::from(0)),
        ("storage.database_wait", Value::from("2s")),
    ] {
        merge(&mut table, &key(name, value));
    }
    merge(&mut table, keys);
    table
}
