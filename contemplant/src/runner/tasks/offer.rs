//! The offer of tasks, as a part of the capabilities.

use network_lib::handshake::Capabilities;
use network_lib::shard::Sharding;
use network_lib::task;
use tokio::sync::watch;

/// `offered` with the tasks that the executor takes, and the size of the depot. While no kind of proof is offered, no
/// tasks are: the obstacle concerns both. Must be called on a tokio runtime.
#[must_use]
pub fn with_tasks(
    offered: watch::Receiver<Capabilities>,
    tasks: watch::Receiver<Option<Sharding>>,
    depot_bytes: u64,
) -> watch::Receiver<Capabilities> {
    let first = combined(&offered.borrow(), tasks.borrow().as_ref(), depot_bytes);
    let (sender, capabilities) = watch::channel(first);
    task::spawn("offer of tasks", combine(offered, tasks, depot_bytes, sender));
    capabilities
}

/// Keeps the capabilities up to date. It ends with the executor, so that the end of its channel is seen.
async fn combine(
    mut offered: watch::Receiver<Capabilities>,
    mut tasks: watch::Receiver<Option<Sharding>>,
    depot_bytes: u64,
    sender: watch::Sender<Capabilities>,
) {
    loop {
        let now = {
            let sharding = tasks.borrow_and_update();
            combined(&offered.borrow_and_update(), sharding.as_ref(), depot_bytes)
        };
        sender.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        let changed = tokio::select! {
            changed = offered.changed() => changed,
            Ok(()) = tasks.changed() => Ok(()),
            () = sender.closed() => return,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn combined(offered: &Capabilities, tasks: Option<&Sharding>, depot_bytes: u64) -> Capabilities {
    let sharding = tasks.filter(|_| !offered.modes.is_empty()).map(|tasks| Sharding {
        depot_bytes,
        depot_port: None,
        depot_fingerprint: None,
        ..tasks.clone()
    });
    Capabilities { sharding, ..offered.clone() }
}
