//! The credentials of development mode, as clients send them.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::harness::Server;

/// The user of pavbis: `test:test`.
pub(crate) const BASIC: (&str, &str) = ("Authorization", "Basic dGVzdDp0ZXN0");

/// A token for spotahome with the role that it asks for.
pub(crate) fn spotahome_token() -> String {
    let claims = json!({ "roles": ["uai_admin"], "exp": 4_102_444_800_u64 });
    let secret = EncodingKey::from_secret(b"at-least-32-bytes-of-secret-material");
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap()
}

/// A token of the eventhos client `shop`, as it gets one.
#[track_caller]
pub(crate) fn eventhos_token(server: &Server) -> String {
    let body = json!({
        "grant_type": "client_credentials",
        "client_id": "shop",
        "client_secret": "shop-secret",
    });
    let headers = [("Content-Type", "application/json")];
    let reply = server.ask("POST", "/auth/token", &headers, body.to_string());
    assert_eq!(reply.status, 201, "{}", reply.text());
    let token = reply.json()["content"]["jwt_token"]
        .as_str()
        .map(str::to_owned);
    token.unwrap()
}
