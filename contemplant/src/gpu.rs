//! The GPUs of this machine, as reported by NVIDIA's management library (NVML), which comes with the driver.

pub mod watch;

use std::sync::{Mutex, PoisonError};

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

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
    /// Device memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Utilisation in percent, where the driver reports it.
    pub utilisation_percent: Option<u32>,
    /// Temperature in degrees Celsius, where the driver reports it.
    pub temperature_celsius: Option<u32>,
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
        memory_used_bytes: memory.used,
        utilisation_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_gives_a_reason() {
        // Where there is a GPU, there is at least one device.
        match look() {
            Ok(gpus) => assert!(!gpus.devices.is_empty() && !gpus.driver.is_empty(), "{gpus:?}"),
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}
