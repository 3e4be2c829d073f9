//! The checks before anything is offered: of the machine, and of an execution as for a job.
//!
//! The machine is examined again each minute, since a folder or `/dev/shm` may fill up.

use std::sync::Arc;
use std::time::Duration;

use network_lib::task;
use sp1_core_machine::io::SP1Stdin;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::execute::Settings;
use super::helper::Helper;
use super::{WARMING_UP, probe_program};
use crate::machine::{Machine, Needs};

/// Pause between two examinations.
const INTERVAL: Duration = Duration::from_secs(60);

/// Memory of the test program. In `/dev/shm` it takes twice as much, more than a container has without a setting.
const PROBE_MIB: u32 = 96;

/// What the test program executes: three instructions for each store.
const PROBE_CYCLES: u64 = 3 * 1024 * PROBE_MIB as u64;

/// Time limit for the test execution: a hundred times what it takes.
const PROBE_LIMIT: Duration = Duration::from_secs(120);

/// Watches for obstacles from `started` on, until the receiver is dropped. The receiver's value is why this machine cannot
/// prove, with the remedies, or none; until the first checks have passed, that it warms up. Must be called on a tokio
/// runtime.
#[must_use]
pub fn watch(
    started: CancellationToken,
    machine: Machine,
    needs: Needs,
    helper: Helper,
) -> watch::Receiver<Option<String>> {
    let execute = move || {
        let helper = helper.clone();
        async move { execute_probe(&helper).await }
    };
    watch_each(INTERVAL, started, move || machine.obstacle(&needs), execute)
}

/// Executes a program that stores to `PROBE_MIB` MiB.
///
/// # Errors
///
/// Why it could not be executed.
pub async fn execute_probe(helper: &Helper) -> Result<(), String> {
    let settings = Settings {
        cycle_limit: Some(2 * PROBE_CYCLES),
        gas_limit: None,
        accept_mock_proofs: false,
    };
    let failed = |reason: String| format!("a test execution failed: {reason}");
    let input = bincode::serialize(&SP1Stdin::new()).map_err(|error| failed(error.to_string()))?;
    let elf = Arc::new(probe_program::touching(PROBE_MIB));
    let executing = async {
        let room = helper.room().await?;
        let running = helper.execute(room, elf, Arc::new(input), settings, false)?;
        running.executed().await
    };
    let executed = timeout(PROBE_LIMIT, executing)
        .await
        .map_err(|_| failed(format!("it took more than {} s", PROBE_LIMIT.as_secs())))?
        .map_err(|failure| failed(failure.message))?;
    let cycles = executed.execution.cycles;
    if cycles < PROBE_CYCLES {
        return Err(failed(format!("it took {cycles} cycles: expected at least {PROBE_CYCLES}")));
    }
    Ok(())
}

fn watch_each<E, T>(
    interval: Duration,
    started: CancellationToken,
    examine: impl Fn() -> Option<String> + Send + Sync + 'static,
    execute: E,
) -> watch::Receiver<Option<String>>
where
    E: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), String>> + Send,
{
    let warming_up = format!("{WARMING_UP}this machine is checked");
    let (sender, receiver) = watch::channel(Some(warming_up));
    task::spawn("machine checks", async move {
        let examine = Arc::new(examine);
        started.cancelled().await;
        let mut has_executed = false;
        while !sender.is_closed() {
            let mut obstacle = examined(&examine).await;
            if obstacle.is_none() && !has_executed {
                obstacle = execute().await.err();
                has_executed = obstacle.is_none();
            }
            tell(&sender, obstacle);
            tokio::select! {
                () = sender.closed() => {}
                () = sleep(interval) => {}
            }
        }
    });
    receiver
}

/// Examines once. A script is run and a disk may be slow, so not on the threads that keep connections.
async fn examined<F>(examine: &Arc<F>) -> Option<String>
where
    F: Fn() -> Option<String> + Send + Sync + 'static,
{
    let examine = Arc::clone(examine);
    let examined = spawn_blocking(move || examine()).await;
    examined.unwrap_or_else(|error| Some(format!("the machine cannot be examined: {error}")))
}

/// Sends and logs a change.
fn tell(sender: &watch::Sender<Option<String>>, now: Option<String>) {
    sender.send_if_modified(|known| {
        if *known == now {
            return false;
        }
        match &now {
            Some(reason) => tracing::warn!(reason, "this machine cannot prove"),
            None => tracing::info!("this machine has passed its checks"),
        }
        *known = now;
        true
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// What the checks find, and how often a program was executed.
    #[derive(Default)]
    struct Found {
        machine: Mutex<Option<String>>,
        execution: Mutex<Option<String>>,
        executions: AtomicUsize,
    }

    fn watched(started: &CancellationToken) -> (Arc<Found>, watch::Receiver<Option<String>>) {
        let found = Arc::new(Found::default());
        let (machine, execution) = (Arc::clone(&found), Arc::clone(&found));
        let examine = move || machine.machine.lock().unwrap().clone();
        let execute = move || {
            execution.executions.fetch_add(1, Ordering::Relaxed);
            let reason = execution.execution.lock().unwrap().clone();
            async move { reason.map_or(Ok(()), Err) }
        };
        let obstacle = watch_each(SOON, started.clone(), examine, execute);
        (found, obstacle)
    }

    async fn becomes(obstacle: &mut watch::Receiver<Option<String>>, wanted: Option<&str>) {
        let is_wanted = |now: &Option<String>| now.as_deref() == wanted;
        timeout(PATIENCE, obstacle.wait_for(is_wanted)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_machine_warms_up_until_its_checks_have_passed_and_is_watched_after_that() {
        let started = CancellationToken::new();
        let (found, mut obstacle) = watched(&started);
        assert!(obstacle.borrow().as_ref().unwrap().starts_with(WARMING_UP));
        *found.machine.lock().unwrap() = Some("/data is full".to_owned());
        sleep(10 * SOON).await;
        assert!(!obstacle.has_changed().unwrap(), "nothing is checked before the folder is locked");
        started.cancel();
        becomes(&mut obstacle, Some("/data is full")).await;
        assert_eq!(found.executions.load(Ordering::Relaxed), 0);
        *found.execution.lock().unwrap() = Some("it was killed".to_owned());
        *found.machine.lock().unwrap() = None;
        becomes(&mut obstacle, Some("it was killed")).await;
        *found.execution.lock().unwrap() = None;
        becomes(&mut obstacle, None).await;
        let executions = found.executions.load(Ordering::Relaxed);
        *found.machine.lock().unwrap() = Some("/dev/shm is full".to_owned());
        becomes(&mut obstacle, Some("/dev/shm is full")).await;
        *found.machine.lock().unwrap() = None;
        becomes(&mut obstacle, None).await;
        assert_eq!(found.executions.load(Ordering::Relaxed), executions, "one success suffices");
    }
}
