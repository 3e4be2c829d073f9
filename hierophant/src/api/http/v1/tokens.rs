//! Access tokens: creation, list, revocation.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use hierophant_admin_model::{MadeToken, NewToken, Refusal, Token};
use hierophant_model::clients::ClientName;

use super::commands::parse_body;
use super::page::{
    ApiResult, ErrorResponse, error_response, invalid, not_found, parse_enum, store_unavailable,
    unavailable,
};
use crate::api::AdminContext;
use crate::api::problem::{Kind, Problem};
use crate::operators::Operator;
use crate::tokens::{CreateError, RevokeError, Role};

/// Creates a token. Only this response contains its secret. Tokens of role `act` or `admin` are created with role
/// `admin`, or on Hierophant's machine without a token.
#[utoipa::path(post, path = "/tokens", operation_id = "create_token", tag = "tokens", request_body = NewToken,
    responses(
    (status = 201, body = MadeToken),
    (status = 400, description = "invalid name, role or time of validity, or unknown client", body = Refusal),
    (status = 409, description = "name in use by a valid token, or too many valid tokens", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn create(
    State(context): State<AdminContext>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Result<(StatusCode, Json<MadeToken>), ErrorResponse> {
    let requested: NewToken = parse_body(&body)?;
    let role = parse_enum("role", &requested.role)?;
    if !operator.may_create(role) {
        return Err(needs_admin(&operator, "create", role));
    }
    let lifetime = requested.expires_in_seconds.map(Duration::from_secs);
    let client =
        requested.client.as_deref().map(|name| known_client(&context, name)).transpose()?;
    let created = context.tokens.create_for(&requested.name, role, lifetime, client).await;
    let created = created.map_err(|error| match error {
        CreateError::Name | CreateError::Lifetime | CreateError::NotAClient => {
            invalid(error.to_string())
        }
        CreateError::NameTaken | CreateError::TooMany => {
            error_response(StatusCode::CONFLICT, error.to_string())
        }
        CreateError::Interrupted => unavailable(error.to_string()),
        CreateError::Store(error) => store_unavailable(error),
    })?;
    let (secret, record) = created;
    Ok((StatusCode::CREATED, Json(MadeToken { token: Token::of(&record), secret })))
}

fn needs_admin(operator: &Operator, act: &str, role: Role) -> ErrorResponse {
    let name = operator.name();
    let text = format!(
        "token {name} may not {act} tokens of role {role}: expected a token of role admin, or a call on \
         Hierophant's machine without a token"
    );
    Problem::new(Kind::RoleInsufficient, text)
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
#[utoipa::path(get, path = "/tokens", operation_id = "list_tokens", tag = "tokens", responses((status = 200, body = Vec<Token>)))]
pub(super) async fn list(State(context): State<AdminContext>) -> Json<Vec<Token>> {
    Json(context.tokens.list().iter().map(Token::of).collect())
}

/// Revokes the valid token of this name. From then on it is rejected, and connections of workers that it
/// admitted are closed. Idempotent. A token of role `admin` is revoked with role `admin`, or on Hierophant's machine
/// without a token.
#[utoipa::path(delete, path = "/tokens/{name}", operation_id = "revoke_token", tag = "tokens",
    params(("name" = String, Path, description = "token name")), responses(
    (status = 200, body = Token),
    (status = 404, description = "unknown token name", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn revoke(
    State(context): State<AdminContext>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> ApiResult<Token> {
    if let Some(role) = context.tokens.named(&name).map(|record| record.role)
        && !operator.may_revoke(role)
    {
        return Err(needs_admin(&operator, "revoke", role));
    }
    match context.tokens.revoke(&name).await {
        Ok(record) => Ok(Json(Token::of(&record))),
        Err(error @ RevokeError::Missing) => Err(not_found(error.to_string())),
        Err(error @ RevokeError::Interrupted) => Err(unavailable(error.to_string())),
        Err(RevokeError::Store(error)) => Err(store_unavailable(error)),
    }
}
