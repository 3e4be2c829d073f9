//! The GPUs of this machine, as reported by NVIDIA's management library (NVML), which comes with the driver.

pub mod watch;

use std::sync::{Mutex, PoisonError};

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

/// Least memory of a GPU. Cards are sold with 24 GB, of which the driver reports less; with less than this, SP1's server
/// ends when it builds its prover.
const LEAST_MEMORY: u64 = 20 << 30;

/// Least compute capability: SP1's kernels are built for no older GPUs than those of the year 2020 (Ampere).
const LEAST_CAPABILITY: (u32, u32) = (8, 0);

/// The GPUs of the machine and their driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// Version of the driver, such as `550.54.15`.
    pub driver: String,
    /// Newest CUDA version that the driver supports, such as `12.4`.
    pub cuda: String,
    /// Each device, by its number.
    pub devices: Vec<Device>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Model name.
    pub model: String,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Compute capability, such as 8.9, where the driver reports it.
    pub compute_capability: Option<(u32, u32)>,
    /// Device memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Utilisation in percent, where the driver reports it.
    pub utilisation_percent: Option<u32>,
    /// Temperature in degrees Celsius, where the driver reports it.
    pub temperature_celsius: Option<u32>,
}

impl Device {
    /// Why SP1 cannot prove on it, with the remedy; none if it can.
    #[must_use]
    pub fn unfit(&self) -> Option<String> {
        let remedy = "use another GPU, or leave this one out of `gpus`";
        let model = &self.model;
        if self.memory_bytes < LEAST_MEMORY {
            let (has, least) = (self.memory_bytes >> 20, LEAST_MEMORY >> 20);
            return Some(format!(
                "{model} has {has} MiB of memory: expected at least {least}; {remedy}"
            ));
        }
        let (major, minor) =
            self.compute_capability.filter(|capability| *capability < LEAST_CAPABILITY)?;
        let (least_major, least_minor) = LEAST_CAPABILITY;
        Some(format!(
            "{model} has compute capability {major}.{minor}: expected at least {least_major}.{least_minor}; {remedy}"
        ))
    }
}

/// What to say when the driver does not report the GPUs, and the configuration does not name them.
#[must_use]
pub fn unseen(reason: &str, is_container: bool) -> String {
    let remedy = match is_container {
        true => {
            "start this container with `--gpus all -e NVIDIA_DRIVER_CAPABILITIES=utility`, or name them in `gpus`"
        }
        false => {
            "install NVIDIA's driver, and see whether `nvidia-smi` shows the GPUs, or name them in `gpus`"
        }
    };
    format!("the GPUs are unknown ({reason}), so GPU 0 alone is used: {remedy}")
}

/// A source of GPU data: the driver, or a test.
pub trait GpuSource: Send + Sync {
    /// Reads the state of the GPUs. May block for as long as the driver does.
    ///
    /// # Errors
    ///
    /// The source's message, for instance that there is no driver.
    fn look(&self) -> Result<Gpus, String>;
}

/// The driver. Its library stays open after the first read.
#[derive(Debug, Default)]
pub struct Driver(Mutex<Option<Nvml>>);

impl GpuSource for Driver {
    fn look(&self) -> Result<Gpus, String> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match open.take() {
            Some(nvml) => Ok(nvml),
            None => load(),
        };
        // After an error it is loaded again: the driver may have been replaced.
        let found = found.and_then(|nvml| Ok((read(&nvml)?, nvml)));
        let (gpus, nvml) = found.map_err(|error| error.to_string())?;
        *open = Some(nvml);
        Ok(gpus)
    }
}

/// Reads the state of the GPUs once.
///
/// # Errors
///
/// NVML's message, for instance that there is no driver.
pub fn look() -> Result<Gpus, String> {
    Driver::default().look()
}

/// Loads NVML: the name with the number belongs to the driver, the plain one to CUDA's headers.
fn load() -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init().or_else(|_| Nvml::init())
}

fn read(nvml: &Nvml) -> Result<Gpus, NvmlError> {
    let cuda = nvml.sys_cuda_driver_version()?;
    let count = nvml.device_count()?;
    let devices = (0..count).map(|number| device(nvml, number)).collect::<Result<_, _>>()?;
    Ok(Gpus {
        driver: nvml.sys_driver_version()?,
        cuda: format!("{}.{}", cuda / 1000, cuda % 1000 / 10),
        devices,
    })
}

fn device(nvml: &Nvml, number: u32) -> Result<Device, NvmlError> {
    let device = nvml.device_by_index(number)?;
    let memory = device.memory_info()?;
    Ok(Device {
        model: device.name()?,
        memory_bytes: memory.total,
        compute_capability: device
            .cuda_compute_capability()
            .ok()
            .and_then(|found| Some((found.major.try_into().ok()?, found.minor.try_into().ok()?))),
        memory_used_bytes: memory.used,
        utilisation_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_are_too_small_or_too_old_are_named_with_the_remedy() {
        let device = |mib: u64, compute_capability| Device {
            model: "NVIDIA X".to_owned(),
            memory_bytes: mib << 20,
            compute_capability,
            memory_used_bytes: 0,
            utilisation_percent: None,
            temperature_celsius: None,
        };
        // An L4, an A100 and an H200; the capability may be unknown.
        for (mib, capability) in [(23_034, (8, 9)), (40_960, (8, 0)), (143_771, (9, 0))] {
            assert_eq!(device(mib, Some(capability)).unfit(), None);
            assert_eq!(device(mib, None).unfit(), None);
        }
        // A T4 is both, a V100 is large enough.
        let small = device(15_360, Some((7, 5))).unfit().unwrap_or_default();
        assert!(small.contains("has 15360 MiB of memory: expected at least 20480"), "{small}");
        let old = device(32_768, Some((7, 0))).unfit().unwrap_or_default();
        assert!(old.contains("compute capability 7.0: expected at least 8.0"), "{old}");
        assert!(old.contains("leave this one out of `gpus`"), "{old}");
    }

    #[test]
    fn unknown_gpus_have_another_remedy_in_a_container() {
        let text = unseen("no library", true);
        assert!(text.contains("(no library), so GPU 0 alone") && text.contains("`--gpus all"));
        assert!(unseen("no library", false).contains("install NVIDIA's driver"));
    }

    #[test]
    fn a_machine_without_a_driver_gives_a_reason() {
        // Where there is a GPU, there is at least one device.
        match look() {
            Ok(gpus) => assert!(!gpus.devices.is_empty() && !gpus.driver.is_empty(), "{gpus:?}"),
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}
