//! Containers that an earlier process has left: after SIGKILL nobody removes them but the next start.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::ListContainersOptions;

use super::container::{GPU_LABEL, OWNER_LABEL, Place};
use super::{remove, words};
use crate::prover_server::server::Unavailable;

/// Removes this Contemplant's containers of `gpu`, and of GPUs that it does not serve any more.
pub(super) async fn sweep(
    engine: &Docker,
    place: &Place,
    gpu: u32,
    all_gpus: &[u32],
) -> Result<(), Unavailable> {
    let label = format!("{OWNER_LABEL}={}", place.owner());
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
    let found = engine.list_containers(Some(options)).await.map_err(|error| {
        Unavailable(format!("the engine's containers cannot be listed: {}", words(&error)))
    })?;
    for container in found {
        let of = container.labels.as_ref().and_then(|labels| labels.get(GPU_LABEL)?.parse().ok());
        let others = |other: &u32| *other != gpu && all_gpus.contains(other);
        // A container of a GPU beside this one is the affair of that one's own server.
        if of.as_ref().is_some_and(others) {
            continue;
        }
        if let Some(id) = container.id {
            tracing::info!(container = id, "removing a container that was left over");
            remove(engine, &id).await;
        }
    }
    Ok(())
}
