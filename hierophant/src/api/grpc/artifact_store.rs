//! `artifact.ArtifactStore`: upload tickets.

use hierophant_model::records::ArtifactKind;
use hierophant_proto::artifact::artifact_store_server::ArtifactStore;
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest, CreateArtifactResponse};
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::rejected::over_quota;
use crate::api::ClientContext;
use crate::api::auth::CREATE_ARTIFACT_MESSAGE;
use crate::api::urls::CalledAuthority;

/// The `ArtifactStore` service.
#[derive(Debug)]
pub struct ArtifactStoreService {
    context: ClientContext,
}

impl ArtifactStoreService {
    /// A service on this context.
    #[must_use]
    pub const fn new(context: ClientContext) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl ArtifactStore for ArtifactStoreService {
    async fn create_artifact(
        &self,
        request: Request<CreateArtifactRequest>,
    ) -> Result<Response<CreateArtifactResponse>, Status> {
        let authority = request.extensions().get::<CalledAuthority>().cloned();
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let owner = caller.signer(&self.context, CREATE_ARTIFACT_MESSAGE, &request.signature)?;
        let kind = match ArtifactType::try_from(request.artifact_type) {
            Ok(ArtifactType::Program) => ArtifactKind::Program,
            Ok(ArtifactType::Stdin) => ArtifactKind::Stdin,
            Ok(ArtifactType::PrivateStdin) => ArtifactKind::PrivateStdin,
            _ => {
                return Err(Status::invalid_argument(format!(
                    "invalid artifact type {}: expected PROGRAM (1), STDIN (2) or PRIVATE_STDIN (7)",
                    request.artifact_type
                )));
            }
        };
        self.context.admission.check_storage()?;
        let ticket = self.context.artifacts.open_ticket(kind, owner).await;
        let ticket =
            ticket.map_err(|_| Status::unavailable("upload ticket not stored; try again later"))?;
        let id = ticket.map_err(over_quota)?;
        let url = self.context.urls.artifact(authority.as_ref(), id);
        Ok(Response::new(CreateArtifactResponse {
            artifact_uri: url.clone(),
            artifact_presigned_url: url,
        }))
    }
}
