//! Containers of an earlier process: after SIGKILL only the next start removes them.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::ListContainersOptions;

use super::container::{GPU_LABEL, HostPaths, OWNER_LABEL};
use super::{message_of, remove};
use crate::prover_server::server::Unavailable;

/// Removes this Contemplant's containers of `gpu`, and of GPUs that are no longer in use.
pub(super) async fn sweep(
    engine: &Docker,
    paths: &HostPaths,
    gpu: u32,
    all_gpus: &[u32],
) -> Result<(), Unavailable> {
    let label = format!("{OWNER_LABEL}={}", paths.owner());
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
    let found = engine.list_containers(Some(options)).await.map_err(|error| {
        Unavailable(format!("the engine's containers cannot be listed: {}", message_of(&error)))
    })?;
    for container in found {
        let of = container.labels.as_ref().and_then(|labels| labels.get(GPU_LABEL)?.parse().ok());
        let others = |other: &u32| *other != gpu && all_gpus.contains(other);
        // The container of another GPU in use belongs to that GPU's server.
        if of.as_ref().is_some_and(others) {
            continue;
        }
        if let Some(id) = container.id {
            tracing::info!(container = id, "removing a container of an earlier process");
            remove(engine, &id).await;
        }
    }
    Ok(())
}
