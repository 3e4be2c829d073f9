//! Providing the image.

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;

use super::credentials::{self, Known};
use super::message_of;
use crate::config::DockerSettings;
use crate::prover_server::server::Unavailable;

/// Remedy for a missing image.
pub(super) const REMEDY: &str =
    "build it from contemplant/docker (docs/gpu.md), or set `docker.image`";

/// Addition to it where the credentials are out of reach.
const IN_HELPER: &str = "the registry's credentials are in a helper, which is not asked: expected them in the file \
     `docker.registry_auth`, or the image pulled beforehand";

/// Pulls the image if the engine does not have it.
pub(super) async fn provide(engine: &Docker, settings: &DockerSettings) -> Result<(), Unavailable> {
    let image = &settings.image;
    match engine.inspect_image(image).await {
        Ok(_) => return Ok(()),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
        Err(error) => {
            let answer = message_of(&error);
            return Err(Unavailable(format!("the image {image} cannot be looked up: {answer}")));
        }
    }
    if !settings.pull {
        return Err(Unavailable(format!(
            "the image {image} is missing, and `docker.pull` is off: {REMEDY}"
        )));
    }
    let known = credentials::read(settings.registry_auth.as_deref(), image).map_err(Unavailable)?;
    let remedy = match known {
        Known::InHelper => format!("{REMEDY}; {IN_HELPER}"),
        _ => REMEDY.to_owned(),
    };
    let credentials = match known {
        Known::Credentials(credentials) => Some(credentials),
        _ => None,
    };
    pull(engine, image, credentials).await.map_err(|error| {
        Unavailable(format!("the image {image} cannot be pulled: {}; {remedy}", message_of(&error)))
    })
}

async fn pull(
    engine: &Docker,
    image: &str,
    credentials: Option<DockerCredentials>,
) -> Result<(), Error> {
    tracing::info!(image, "pulling an image; this may take minutes");
    let options = CreateImageOptions { from_image: Some(tagged(image)), ..Default::default() };
    let mut steps = std::pin::pin!(engine.create_image(Some(options), None, credentials));
    while let Some(step) = steps.next().await {
        let step = step?;
        tracing::debug!(status = step.status, layer = step.id, "pulling");
    }
    tracing::info!(image, "image pulled");
    Ok(())
}

/// The image with a tag, because without one the engine would pull every tag.
fn tagged(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_added_where_there_is_none() {
        assert_eq!(tagged("server"), "server:latest");
        assert_eq!(tagged("host:5000/team/server"), "host:5000/team/server:latest");
        assert_eq!(tagged("host:5000/server:1.2"), "host:5000/server:1.2");
        assert_eq!(tagged("server@sha256:00"), "server@sha256:00");
    }
}
