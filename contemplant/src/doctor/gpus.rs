//! Check: the GPUs exist, and SP1 can prove on them.

use crate::config::Config;
use crate::gpu::{self, Gpus};
use crate::machine::Finding;

/// CUDA version of the prover server's image. An older driver may refuse to start it.
const IMAGE_CUDA: (u32, u32) = (12, 8);

/// Asks the driver.
pub(super) fn look(config: &Config, is_container: bool) -> Finding {
    if !config.uses_gpus() {
        return Finding::passed("gpu", "not requested (`docker.gpu_request` is off)");
    }
    judge(config, gpu::look(), is_container)
}

fn judge(config: &Config, found: Result<Gpus, String>, is_container: bool) -> Finding {
    let what = "gpu";
    let in_docker = config.prover_command.is_none();
    let found = match found {
        Ok(found) => found,
        // The engine may have GPUs that this container does not see.
        Err(reason) if is_container && in_docker => {
            return Finding::warning(what, unseen_in_container(config, &reason));
        }
        Err(reason) => {
            let remedy = match is_container {
                true => {
                    "start this container with `--gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility`, on a machine \
                     with NVIDIA's driver"
                }
                false => "install NVIDIA's driver, and see whether `nvidia-smi` shows the GPU",
            };
            return Finding::failed(what, format!("{reason}; {remedy}"));
        }
    };
    let count = found.devices.len();
    let all = || (0..count).filter_map(|number| u32::try_from(number).ok()).collect();
    let wanted: Vec<u32> = config.gpus.clone().unwrap_or_else(all);
    if let Some(missing) = wanted.iter().find(|gpu| **gpu as usize >= count) {
        return Finding::failed(
            what,
            format!("GPU {missing} does not exist: expected numbers below {count} in `gpus`"),
        );
    }
    let wanted = || wanted.iter().map(|gpu| (gpu, &found.devices[*gpu as usize]));
    let unfit: Vec<String> = wanted()
        .filter_map(|(gpu, device)| Some(format!("GPU {gpu}: {}", device.unfit()?)))
        .collect();
    if !unfit.is_empty() {
        let text = unfit.join("; ");
        // The others can work.
        let some_fit = unfit.len() < wanted().count();
        return if some_fit { Finding::warning(what, text) } else { Finding::failed(what, text) };
    }
    let devices: Vec<String> = wanted()
        .map(|(_, device)| format!("{} ({} GiB)", device.model, device.memory_bytes >> 30))
        .collect();
    let text = format!("{}; driver {}, CUDA {}", devices.join(", "), found.driver, found.cuda);
    let (major, minor) = IMAGE_CUDA;
    if in_docker && version(&found.cuda).is_some_and(|cuda| cuda < IMAGE_CUDA) {
        return Finding::warning(
            what,
            format!(
                "{text}: the image of contemplant/docker has CUDA {major}.{minor}; if its container is refused, \
                 update the driver to 570 or newer"
            ),
        );
    }
    Finding::passed(what, text)
}

fn unseen_in_container(config: &Config, reason: &str) -> String {
    match &config.gpus {
        None => gpu::unseen(reason, true),
        Some(gpus) => format!(
            "GPUs {gpus:?} of `gpus` are used unseen ({reason}): start this container with \
             `--gpus all -e NVIDIA_DRIVER_CAPABILITIES=utility` to have them checked and their load shown"
        ),
    }
}

/// A version such as `12.4`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::Device;
    use crate::machine::Verdict;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::for_test("ws://127.0.0.1:1/ws", "/data");
        change(&mut config);
        config
    }

    fn gpus(cuda: &str, memories: &[u64]) -> Result<Gpus, String> {
        let device = |gib: &u64| Device {
            model: "NVIDIA X".to_owned(),
            memory_bytes: gib << 30,
            compute_capability: Some((8, 9)),
            memory_used_bytes: 0,
            utilisation_percent: None,
            temperature_celsius: None,
        };
        let devices = memories.iter().map(device).collect();
        Ok(Gpus { driver: "570.1".to_owned(), cuda: cuda.to_owned(), devices })
    }

    fn verdict(config: &Config, found: Result<Gpus, String>, words: &str) -> Verdict {
        let found = judge(config, found, false);
        assert!(found.text.contains(words), "{found:?}");
        found.verdict
    }

    #[test]
    fn a_gpu_that_is_too_small_fails_unless_another_fits() {
        let any = config(|_| {});
        assert_eq!(verdict(&any, gpus("12.8", &[24, 24]), "(24 GiB), NVIDIA X"), Verdict::Passed);
        let one_small = gpus("12.8", &[24, 8]);
        assert_eq!(verdict(&any, one_small.clone(), "GPU 1: NVIDIA X has 8192"), Verdict::Warning);
        let first = config(|config| config.gpus = Some(vec![0]));
        assert_eq!(verdict(&first, one_small.clone(), "(24 GiB)"), Verdict::Passed);
        let second = config(|config| config.gpus = Some(vec![1]));
        assert_eq!(verdict(&second, one_small, "at least 20480"), Verdict::Failed);
        let third = config(|config| config.gpus = Some(vec![2]));
        assert_eq!(verdict(&third, gpus("12.8", &[24]), "GPU 2 does not exist"), Verdict::Failed);
    }

    #[test]
    fn an_old_driver_is_a_warning_for_containers() {
        let any = config(|_| {});
        assert_eq!(
            verdict(&any, gpus("12.4", &[24]), "update the driver to 570"),
            Verdict::Warning
        );
        assert_eq!(verdict(&any, gpus("13.0", &[24]), "CUDA 13.0"), Verdict::Passed);
        let command = config(|config| config.prover_command = Some(vec!["server".to_owned()]));
        assert_eq!(verdict(&command, gpus("12.4", &[24]), "CUDA 12.4"), Verdict::Passed);
    }

    #[test]
    fn a_container_that_sees_no_gpus_is_warned_of_with_the_remedy() {
        let unseen = || Err("libnvidia-ml.so.1 is missing".to_owned());
        let any = config(|_| {});
        let found = judge(&any, unseen(), true);
        assert_eq!(found.verdict, Verdict::Warning);
        for words in ["GPU 0 alone is used", "`--gpus all -e NVIDIA_DRIVER_CAPABILITIES=utility`"] {
            assert!(found.text.contains(words), "{found:?}");
        }
        let named = config(|config| config.gpus = Some(vec![0, 1]));
        let found = judge(&named, unseen(), true);
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.text.contains("GPUs [0, 1] of `gpus` are used unseen"), "{found:?}");
        // A server in the same container needs the GPU there, and a machine needs its driver.
        let command = config(|config| config.prover_command = Some(vec!["server".to_owned()]));
        let found = judge(&command, unseen(), true);
        assert_eq!(found.verdict, Verdict::Failed);
        assert!(
            found.text.contains("`--gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility`"),
            "{found:?}"
        );
        let found = judge(&any, unseen(), false);
        assert_eq!(found.verdict, Verdict::Failed);
        assert!(found.text.contains("install NVIDIA's driver"), "{found:?}");
    }
}
