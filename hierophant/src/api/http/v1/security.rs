//! How the description tells who is let in: the same for every route, so it is added to all of them here.

use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref};

use super::guard::COOKIE;

/// The answers of `guard`.
const ANSWERS: [(&str, &str); 3] = [
    ("401", "no token where one is needed, or one that nobody has"),
    ("403", "the token does not allow it, or a page of another site calls"),
    ("429", "too many wrong tokens came from this address; `Retry-After` says when to try again"),
];

/// Adds the ways to say who one is, and what happens to those who are not let in.
pub(super) fn describe(api: &mut OpenApi) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of role read (GET) or act (everything), made by `hierophant token create`.",
    ));
    let cookie = ApiKeyValue::with_description(
        COOKIE,
        "A session, begun by POST /api/v1/session. What is not a GET also needs an `Origin` that is this \
         Hierophant's, or `Sec-Fetch-Site: same-origin`.",
    );
    let components = api.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer.build()));
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    // The last one: programs on the same machine.
    let none: [&str; 0] = [];
    let ways = vec![
        SecurityRequirement::new("token", none),
        SecurityRequirement::new("session", none),
        SecurityRequirement::default(),
    ];
    api.security = Some(ways);
    for path in api.paths.paths.values_mut() {
        let all = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        for operation in all.into_iter().flatten() {
            add_answers(operation);
        }
    }
}

fn add_answers(operation: &mut Operation) {
    for (code, description) in ANSWERS {
        let refusal = ContentBuilder::new().schema(Some(Ref::from_schema_name("Refusal")));
        let answer = ResponseBuilder::new()
            .description(description)
            .content("application/json", refusal.build());
        let answers = &mut operation.responses.responses;
        answers.entry(code.to_owned()).or_insert_with(|| answer.build().into());
    }
}
