//! Tokens: made, listed and revoked.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::acts::sent;
use super::page::{Answer, invalid, known, not_found, refusal, store_unavailable, unavailable};
use crate::api::AdminContext;
use crate::tokens::{CreateError, RevokeError};
use hierophant_admin_model::{MadeToken, NewToken, Refusal, Token};

/// Makes a token. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken, responses(
    (status = 200, body = MadeToken),
    (status = 400, description = "the name or the role cannot be used", body = Refusal),
    (status = 409, description = "a valid token has this name, or too many are valid", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn create(State(context): State<AdminContext>, body: Bytes) -> Answer<MadeToken> {
    let wanted: NewToken = sent(&body)?;
    let role = known("role", &wanted.role)?;
    let made = context.tokens.create(&wanted.name, role).await.map_err(|error| match error {
        CreateError::Name => invalid(error.to_string()),
        CreateError::Taken | CreateError::TooMany => {
            refusal(StatusCode::CONFLICT, error.to_string())
        }
        CreateError::Interrupted => unavailable(error.to_string()),
        CreateError::Store(error) => store_unavailable(error),
    })?;
    let (secret, record) = made;
    Ok(Json(MadeToken { token: Token::of(&record), secret }))
}

/// All tokens, also those that were revoked, the oldest first.
#[utoipa::path(get, path = "/tokens", tag = "tokens", responses((status = 200, body = Vec<Token>)))]
pub(super) async fn list(State(context): State<AdminContext>) -> Json<Vec<Token>> {
    Json(context.tokens.list().iter().map(Token::of).collect())
}

/// Revokes the valid token of this name: whoever presents it is turned away from now on, and Contemplants
/// that it has admitted are cut. Revoking twice is fine.
#[utoipa::path(delete, path = "/tokens/{name}", tag = "tokens",
    params(("name" = String, Path, description = "name of the token")), responses(
    (status = 200, body = Token),
    (status = 404, description = "no token ever had this name", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn revoke(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
) -> Answer<Token> {
    match context.tokens.revoke(&name).await {
        Ok(record) => Ok(Json(Token::of(&record))),
        Err(error @ RevokeError::Missing) => Err(not_found(error.to_string())),
        Err(error @ RevokeError::Interrupted) => Err(unavailable(error.to_string())),
        Err(RevokeError::Store(error)) => Err(store_unavailable(error)),
    }
}
