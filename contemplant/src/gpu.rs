//! The GPUs of this machine, asked of NVIDIA's management library (NVML), which comes with the driver.

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

/// Looks at the GPUs.
///
/// # Errors
///
/// NVML's own word, for instance that there is no driver.
pub fn look() -> Result<Gpus, String> {
    let look = || -> Result<Gpus, NvmlError> {
        // Only the name with the number belongs to the driver; the plain one comes with CUDA's headers.
        let nvml = Nvml::builder()
            .lib_path("libnvidia-ml.so.1".as_ref())
            .init()
            .or_else(|_| Nvml::init())?;
        let cuda = nvml.sys_cuda_driver_version()?;
        let count = nvml.device_count()?;
        let devices = (0..count).map(|number| device(&nvml, number)).collect::<Result<_, _>>()?;
        Ok(Gpus {
            driver: nvml.sys_driver_version()?,
            cuda: format!("{}.{}", cuda / 1000, cuda % 1000 / 10),
            devices,
        })
    };
    look().map_err(|error| error.to_string())
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
