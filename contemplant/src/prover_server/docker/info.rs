//! What the engine says about itself, and about the container that this program runs in.

use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::{MountPoint, SystemInfo};

use super::message_of;
use crate::prover_server::server::Unavailable;

/// A Docker engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Its version.
    pub version: String,
    /// How it gives GPUs to containers.
    pub gpus: Gpus,
}

/// How an engine gives GPUs to containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpus {
    /// By NVIDIA's runtime.
    ByRuntime,
    /// By descriptions of devices (CDI).
    ByCdi,
    /// It lists no way.
    NotListed,
}

/// Asks the engine about itself.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn describe(engine: &Docker) -> Result<Engine, Unavailable> {
    let info = engine.info().await.map_err(|error| {
        Unavailable(format!("the Docker engine does not describe itself: {}", message_of(&error)))
    })?;
    let gpus = gpus_of(&info);
    Ok(Engine { version: info.server_version.unwrap_or_default(), gpus })
}

fn gpus_of(info: &SystemInfo) -> Gpus {
    if info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key("nvidia")) {
        return Gpus::ByRuntime;
    }
    let devices = info.discovered_devices.iter().flatten();
    let mut names = devices.filter_map(|device| device.id.as_deref());
    if names.any(|name| name.starts_with("nvidia.com/gpu")) { Gpus::ByCdi } else { Gpus::NotListed }
}

/// Where a folder of the container of this program is on the engine's machine; none if it is inside the container.
///
/// # Errors
///
/// When the engine does not know the container.
pub async fn shows_folder(
    engine: &Docker,
    container: &str,
    folder: &Path,
) -> Result<Option<PathBuf>, String> {
    let inspected = engine.inspect_container(container, None).await;
    let mounts = inspected.map_err(|error| message_of(&error))?.mounts.unwrap_or_default();
    Ok(source_of(&mounts, folder))
}

/// The source of `folder` by the mount that is closest to it.
fn source_of(mounts: &[MountPoint], folder: &Path) -> Option<PathBuf> {
    let pairs = mounts.iter().filter_map(|mount| {
        let (source, destination) = (mount.source.as_deref()?, mount.destination.as_deref()?);
        Some((Path::new(source), folder.strip_prefix(destination).ok()?))
    });
    let (source, rest) = pairs.min_by_key(|(_, rest)| rest.components().count())?;
    // Joining an empty path would append a slash.
    Some(if rest.as_os_str().is_empty() { source.to_owned() } else { source.join(rest) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{DeviceInfo, Runtime};

    use super::*;

    #[test]
    fn gpus_come_by_nvidia_s_runtime_or_by_cdi() {
        let runtimes = |name: &str| Some(HashMap::from([(name.to_owned(), Runtime::default())]));
        let plain = SystemInfo { runtimes: runtimes("runc"), ..Default::default() };
        assert_eq!(gpus_of(&plain), Gpus::NotListed);
        let nvidia = SystemInfo { runtimes: runtimes("nvidia"), ..Default::default() };
        assert_eq!(gpus_of(&nvidia), Gpus::ByRuntime);
        let device = |id: &str| DeviceInfo { id: Some(id.to_owned()), ..Default::default() };
        let with = |id| SystemInfo { discovered_devices: Some(vec![device(id)]), ..plain.clone() };
        assert_eq!(gpus_of(&with("nvidia.com/gpu=0")), Gpus::ByCdi);
        assert_eq!(gpus_of(&with("vendor.com/net=0")), Gpus::NotListed);
    }

    #[test]
    fn a_folder_is_where_its_closest_mount_comes_from() {
        let mount = |source: &str, destination: &str| MountPoint {
            source: Some(source.to_owned()),
            destination: Some(destination.to_owned()),
            ..Default::default()
        };
        let mounts = [mount("/host/srv", "/srv"), mount("/disk", "/srv/data"), mount("/x", "/sr")];
        let source = |folder| source_of(&mounts, Path::new(folder));
        assert_eq!(source("/srv/data"), Some("/disk".into()));
        assert_eq!(source("/srv/data/one").unwrap().to_str(), Some("/disk/one"));
        assert_eq!(source("/srv/other"), Some("/host/srv/other".into()));
        assert_eq!(source("/var/lib/contemplant"), None);
    }
}
