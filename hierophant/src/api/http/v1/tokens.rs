//! Access tokens: creation, list, revocation.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hierophant_admin_model::{MadeToken, NewToken, Refusal, Token};
use hierophant_model::clients::ClientName;

use super::commands::parse_body;
use super::page::{
    ApiResult, ErrorResponse, error_response, invalid, not_found, parse_enum, store_unavailable,
    unavailable,
};
use crate::api::AdminContext;
use crate::tokens::{CreateError, RevokeError};

/// Creates a token. Only this response contains its secret.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken, responses(
    (status = 200, body = MadeToken),
    (status = 400, description = "invalid name or role, or unknown client", body = Refusal),
    (status = 409, description = "name in use by a valid token, or too many valid tokens", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn create(
    State(context): State<AdminContext>,
    body: Bytes,
) -> ApiResult<MadeToken> {
    let requested: NewToken = parse_body(&body)?;
    let role = parse_enum("role", &requested.role)?;
    let client =
        requested.client.as_deref().map(|name| known_client(&context, name)).transpose()?;
    let created = context.tokens.create_for(&requested.name, role, client).await.map_err(
        |error| match error {
            CreateError::Name | CreateError::NotAClient => invalid(error.to_string()),
            CreateError::NameTaken | CreateError::TooMany => {
                error_response(StatusCode::CONFLICT, error.to_string())
            }
            CreateError::Interrupted => unavailable(error.to_string()),
            CreateError::Store(error) => store_unavailable(error),
        },
    )?;
    let (secret, record) = created;
    Ok(Json(MadeToken { token: Token::of(&record), secret }))
}

/// The client of this name, which must be configured: a misspelt one would own nothing.
pub(super) fn known_client(
    context: &AdminContext,
    name: &str,
) -> Result<ClientName, ErrorResponse> {
    context.clients.named(name).ok_or_else(|| {
        invalid(format!("unknown client {name:?}: expected a name of `[[clients]]`"))
    })
}

/// All tokens, including revoked ones, oldest first.
#[utoipa::path(get, path = "/tokens", tag = "tokens", responses((status = 200, body = Vec<Token>)))]
pub(super) async fn list(State(context): State<AdminContext>) -> Json<Vec<Token>> {
    Json(context.tokens.list().iter().map(Token::of).collect())
}

/// Revokes the valid token of this name. From then on it is rejected, and connections of workers that it
/// admitted are closed. Idempotent.
#[utoipa::path(delete, path = "/tokens/{name}", tag = "tokens",
    params(("name" = String, Path, description = "token name")), responses(
    (status = 200, body = Token),
    (status = 404, description = "unknown token name", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn revoke(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
) -> ApiResult<Token> {
    match context.tokens.revoke(&name).await {
        Ok(record) => Ok(Json(Token::of(&record))),
        Err(error @ RevokeError::Missing) => Err(not_found(error.to_string())),
        Err(error @ RevokeError::Interrupted) => Err(unavailable(error.to_string())),
        Err(RevokeError::Store(error)) => Err(store_unavailable(error)),
    }
}
