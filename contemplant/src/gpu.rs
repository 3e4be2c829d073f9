//! The GPUs of this machine, asked of NVIDIA's management library (NVML), which comes with the driver.

pub mod watch;

use std::sync::{Mutex, PoisonError};

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

/// What NVML tells of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// Version of the driver, such as `550.54.15`.
    pub driver: String,
    /// Newest CUDA version that the driver can serve, such as `12.4`.
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
    /// Of which in use.
    pub memory_used_bytes: u64,
    /// How busy it is, in percent, where the driver tells.
    pub utilisation_percent: Option<u32>,
    /// In degrees Celsius, where the driver tells.
    pub temperature_celsius: Option<u32>,
}

/// Somebody who tells of the GPUs: the driver, or a test.
pub trait GpuSource: Send + Sync {
    /// Looks at the GPUs. May block for as long as the driver pleases.
    ///
    /// # Errors
    ///
    /// In its own words, for instance that there is no driver.
    fn look(&self) -> Result<Gpus, String>;
}

/// The driver. Its library stays open from the first look on.
#[derive(Debug, Default)]
pub struct Driver(Mutex<Option<Nvml>>);

impl GpuSource for Driver {
    fn look(&self) -> Result<Gpus, String> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match open.take() {
            Some(nvml) => Ok(nvml),
            None => load(),
        };
        // After an error it is loaded anew: the driver may have been exchanged.
        let found = found.and_then(|nvml| Ok((read(&nvml)?, nvml)));
        let (gpus, nvml) = found.map_err(|error| error.to_string())?;
        *open = Some(nvml);
        Ok(gpus)
    }
}

/// Looks at the GPUs once.
///
/// # Errors
///
/// NVML's own word, for instance that there is no driver.
pub fn look() -> Result<Gpus, String> {
    Driver::default().look()
}

/// Only the name with the number belongs to the driver; the plain one comes with CUDA's headers.
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
        memory_used_bytes: memory.used,
        utilisation_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_is_told_in_words() {
        // Where there is a GPU, there is at least one device.
        match look() {
            Ok(gpus) => assert!(!gpus.devices.is_empty() && !gpus.driver.is_empty(), "{gpus:?}"),
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}
