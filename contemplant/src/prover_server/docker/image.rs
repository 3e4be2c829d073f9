//! Providing the image.

use std::pin::pin;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

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

/// How long an engine may report nothing while it pulls an image. While it downloads and unpacks, it reports several
/// times a second.
const SILENCE_LIMIT: Duration = Duration::from_secs(10 * 60);

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
    pull(engine, image, credentials).await.map_err(|reason| {
        Unavailable(format!("the image {image} cannot be pulled: {reason}; {remedy}"))
    })
}

async fn pull(
    engine: &Docker,
    image: &str,
    credentials: Option<DockerCredentials>,
) -> Result<(), String> {
    tracing::info!(image, "pulling an image; this may take minutes");
    let options = CreateImageOptions { from_image: Some(tagged(image)), ..Default::default() };
    follow(engine.create_image(Some(options), None, credentials)).await?;
    tracing::info!(image, "image pulled");
    Ok(())
}

/// Waits for the end of a pull. Returns why it failed.
async fn follow(steps: impl Stream<Item = Result<CreateImageInfo, Error>>) -> Result<(), String> {
    let mut steps = pin!(steps);
    loop {
        let step = timeout(SILENCE_LIMIT, steps.next()).await.map_err(|_| {
            format!("the engine has reported nothing for {} min", SILENCE_LIMIT.as_secs() / 60)
        })?;
        let Some(step) = step else { return Ok(()) };
        let step = step.map_err(|error| message_of(&error))?;
        tracing::debug!(status = step.status, layer = step.id, "pulling");
    }
}

/// The image with a tag, because without one the engine would pull every tag.
fn tagged(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pull_may_be_slow_but_not_silent() {
        let step = async |pause: Duration| {
            sleep(pause).await;
            Ok(CreateImageInfo::default())
        };
        let slow = [SILENCE_LIMIT - Duration::from_secs(1); 20];
        assert_eq!(follow(stream::iter(slow).then(step)).await, Ok(()));
        let began = Instant::now();
        let reason = follow(stream::pending()).await.expect_err("silent");
        assert_eq!(began.elapsed(), SILENCE_LIMIT);
        assert_eq!(reason, "the engine has reported nothing for 10 min");
    }

    #[test]
    fn a_tag_is_added_where_there_is_none() {
        assert_eq!(tagged("server"), "server:latest");
        assert_eq!(tagged("host:5000/team/server"), "host:5000/team/server:latest");
        assert_eq!(tagged("host:5000/server:1.2"), "host:5000/server:1.2");
        assert_eq!(tagged("server@sha256:00"), "server@sha256:00");
    }
}
