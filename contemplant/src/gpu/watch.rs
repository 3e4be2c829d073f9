//! Watching the GPUs for Hierophant: their models once, and their load at intervals.
//!
//! The driver is called on a thread of its own, because it may block, or hang with a broken GPU.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use network_lib::handshake::{Gpu, GpuLoad};
use network_lib::task;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::{Device, GpuSource, Gpus};

/// Interval between two reads of the driver.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time limit for the driver; after it the load is unknown until the driver has answered.
const LIMIT: Duration = Duration::from_secs(10);

/// Watched GPUs.
#[derive(Debug)]
pub struct Watched {
    /// Their models; empty if the driver does not report them.
    pub gpus: Vec<Gpu>,
    /// Why some cannot be proved on, by their numbers.
    pub unfit: BTreeMap<u32, String>,
    /// Their load, in the same order; empty while it is unknown.
    pub loads: watch::Receiver<Vec<GpuLoad>>,
    /// Why they are unknown, if they are.
    pub unknown: Option<String>,
}

/// Reads the GPUs with these numbers, or all, and watches them until the receiver is dropped.
pub async fn watch(source: Arc<dyn GpuSource>, numbers: Option<Vec<u32>>) -> Watched {
    watch_each(INTERVAL, LIMIT, source, numbers).await
}

async fn watch_each(
    interval: Duration,
    limit: Duration,
    source: Arc<dyn GpuSource>,
    numbers: Option<Vec<u32>>,
) -> Watched {
    let unknown = |reason: String| Watched {
        gpus: Vec::new(),
        unfit: BTreeMap::new(),
        loads: watch::channel(Vec::new()).1,
        unknown: Some(reason),
    };
    let found = match timeout(limit, look(&source)).await {
        Ok(Ok(Ok(found))) => found,
        Ok(Ok(Err(reason))) => {
            tracing::info!(reason, "GPUs are unknown");
            return unknown(reason);
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("NVIDIA's driver does not answer; GPUs are unknown");
            return unknown("NVIDIA's driver does not answer".to_owned());
        }
    };
    let Gpus { driver, cuda, devices } = &found;
    tracing::info!(driver, cuda, gpus = devices.len(), "GPUs found");
    let places: Vec<usize> = match numbers {
        None => (0..devices.len()).collect(),
        Some(numbers) => {
            let places = numbers.iter().map(|number| *number as usize);
            places.filter(|place| *place < devices.len()).collect()
        }
    };
    let gpu = |place: &usize| Gpu {
        model: devices[*place].model.clone(),
        memory_bytes: devices[*place].memory_bytes,
        driver: Some(driver.clone()),
    };
    let gpus = places.iter().map(gpu).collect();
    let unfit = places.iter().filter_map(|place| {
        let number = u32::try_from(*place).ok()?;
        Some((number, devices[*place].unfit()?))
    });
    let unfit = unfit.collect();
    let (sender, loads) = watch::channel(loads(&found, &places));
    task::spawn("GPU watch", keep_looking(interval, limit, source, places, sender));
    Watched { gpus, unfit, loads, unknown: None }
}

async fn keep_looking(
    interval: Duration,
    limit: Duration,
    source: Arc<dyn GpuSource>,
    places: Vec<usize>,
    sender: watch::Sender<Vec<GpuLoad>>,
) {
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = sleep(interval) => {}
        }
        let mut looking = look(&source);
        let seen = match timeout(limit, &mut looking).await {
            Ok(seen) => seen,
            Err(_) => {
                tracing::warn!("NVIDIA's driver does not answer; the load of the GPUs is unknown");
                sender.send_replace(Vec::new());
                // A second call would only block another thread.
                looking.await
            }
        };
        let seen = seen.ok().and_then(Result::ok);
        sender.send_replace(seen.map(|seen| loads(&seen, &places)).unwrap_or_default());
    }
}

fn look(source: &Arc<dyn GpuSource>) -> JoinHandle<Result<Gpus, String>> {
    let source = Arc::clone(source);
    spawn_blocking(move || source.look())
}

/// The load of a GPU that has disappeared is unknown.
fn loads(seen: &Gpus, places: &[usize]) -> Vec<GpuLoad> {
    let load = |device: &Device| GpuLoad {
        utilisation_percent: device.utilisation_percent,
        temperature_celsius: device.temperature_celsius,
        memory_used_bytes: Some(device.memory_used_bytes),
    };
    places.iter().map(|place| seen.devices.get(*place).map(load).unwrap_or_default()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const LIMIT: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A driver that answers with the data of the test.
    struct Played(Mutex<Receiver<Result<Gpus, String>>>);

    impl GpuSource for Played {
        fn look(&self) -> Result<Gpus, String> {
            let answers = self.0.lock().unwrap();
            answers.recv().unwrap_or_else(|_| Err("the test is over".to_owned()))
        }
    }

    fn played() -> (Sender<Result<Gpus, String>>, Arc<dyn GpuSource>) {
        let (answers, answer) = mpsc::channel();
        (answers, Arc::new(Played(Mutex::new(answer))))
    }

    fn gpus(used: &[u64]) -> Result<Gpus, String> {
        let device = |(number, used): (usize, &u64)| Device {
            model: format!("model {number}"),
            memory_bytes: (30 << 30) + number as u64,
            // The third is of a generation that is too old.
            compute_capability: Some(if number == 2 { (7, 5) } else { (8, 9) }),
            memory_used_bytes: *used,
            utilisation_percent: Some(50),
            temperature_celsius: None,
        };
        let devices = used.iter().enumerate().map(device).collect();
        Ok(Gpus { driver: "550".to_owned(), cuda: "12.4".to_owned(), devices })
    }

    async fn sees(watched: &mut Watched, used: &[Option<u64>]) {
        let seen = |loads: &Vec<GpuLoad>| {
            loads.iter().map(|load| load.memory_used_bytes).collect::<Vec<_>>() == used
        };
        timeout(PATIENCE, watched.loads.wait_for(seen)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn only_the_wanted_gpus_are_listed_in_their_order() {
        let (answers, source) = played();
        answers.send(gpus(&[1, 2, 3])).unwrap();
        let mut watched = watch_each(SOON, LIMIT, source, Some(vec![2, 0, 9])).await;
        let models: Vec<_> = watched.gpus.iter().map(|gpu| gpu.model.as_str()).collect();
        assert_eq!(models, ["model 2", "model 0"]);
        assert_eq!(watched.gpus[0].driver.as_deref(), Some("550"));
        assert_eq!(watched.unknown, None);
        let unfit: Vec<_> = watched.unfit.iter().collect();
        assert!(
            matches!(unfit[..], [(2, reason)] if reason.contains("compute capability 7.5")),
            "{unfit:?}"
        );
        sees(&mut watched, &[Some(3), Some(1)]).await;
        // One has fallen off the bus.
        answers.send(gpus(&[7, 8])).unwrap();
        sees(&mut watched, &[None, Some(7)]).await;
    }

    #[tokio::test]
    async fn a_driver_that_fails_or_hangs_makes_loads_unknown_until_it_answers() {
        let (answers, source) = played();
        answers.send(gpus(&[1])).unwrap();
        let mut watched = watch_each(SOON, LIMIT, source, None).await;
        sees(&mut watched, &[Some(1)]).await;
        answers.send(Err("GPU is lost".to_owned())).unwrap();
        sees(&mut watched, &[]).await;
        answers.send(gpus(&[2])).unwrap();
        sees(&mut watched, &[Some(2)]).await;
        // Now it does not answer.
        sees(&mut watched, &[]).await;
        answers.send(gpus(&[3])).unwrap();
        sees(&mut watched, &[Some(3)]).await;
    }

    #[tokio::test]
    async fn without_a_driver_nothing_is_told() {
        let (answers, source) = played();
        answers.send(Err("no driver".to_owned())).unwrap();
        let watched = watch_each(SOON, LIMIT, source, None).await;
        assert!(watched.gpus.is_empty() && watched.loads.borrow().is_empty());
        assert_eq!(watched.unknown.as_deref(), Some("no driver"));
        let (_answers, hangs) = played();
        let watched = watch_each(SOON, LIMIT, hangs, None).await;
        assert!(watched.gpus.is_empty() && watched.loads.borrow().is_empty());
    }
}
