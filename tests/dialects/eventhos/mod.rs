//! The eventhos dialect from outside. What the tests share: a shop whose bill action calls a receiver,
//! and an administrator.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strandlog::auth::PlainSecret;
use strandlog::dialect::eventhos::Settings;
use strandlog::dialect::eventhos::settings::{
    Action, Client, Contract, Event, System, SystemClass, User,
};

use crate::client::Reply;
use crate::harness::{Server, until};
use crate::receiver::Receiver;

mod administration;
mod bad_input;
mod clients;
mod delivery;
mod examples;
mod loops;
mod oauth;
mod received;
mod restart;
mod retry;
mod templates;
mod tokens;

/// The event with a contract, and the one without.
const PLACED: &str = "order-placed-k736k3hiW7";
const LONELY: &str = "order-lonely-a1b2c3d4e5";
/// The secret of every token in development mode.
const JWT_SECRET: &str = "another-32-bytes-of-secret-material-here";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The settings of development mode with an administrator, changed.
fn start(change: impl FnOnce(&mut Settings)) -> Server {
    Server::start_with(|settings| {
        let eventhos = settings.dialects.eventhos.as_mut().unwrap();
        eventhos.users.push(User {
            name: "admin".to_owned(),
            password: PlainSecret::new("admin-password"),
            permissions: vec!["*".to_owned()],
        });
        change(eventhos);
    })
}

/// The same with the bill action at a receiver.
fn start_calling(receiver: &Receiver, change: impl FnOnce(&mut Settings)) -> Server {
    let url = receiver.url("/bill");
    start(|settings| {
        settings.actions[0].url = url;
        change(settings);
    })
}

/// A further action of the config file, and a contract for it.
fn add_contract(settings: &mut Settings, event: &str, name: &str, url: &str, order: i64) {
    settings.actions.push(Action {
        identifier: name.to_owned(),
        url: url.to_owned(),
        ..settings.actions[0].clone()
    });
    settings.contracts.push(Contract {
        event: event.to_owned(),
        action: name.to_owned(),
        order,
    });
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A token of a client.
#[track_caller]
fn token_of(server: &Server, id: &str, secret: &str) -> String {
    let body =
        json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    let reply = server.ask("POST", "/auth/token", &[JSON], body.to_string());
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["content"]["jwt_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[track_caller]
fn shop_token(server: &Server) -> String {
    token_of(server, "shop", "shop-secret")
}

/// Sends JSON as an occurrence.
fn send(server: &Server, event: &str, token: &str, body: impl AsRef<[u8]>) -> Reply {
    server.ask(
        "POST",
        &format!("/event/send?event-identifier={event}"),
        &[("access-key", token), JSON],
        body,
    )
}

/// The administrator, who asks.
struct Admin<'s> {
    server: &'s Server,
    authorization: String,
}

impl<'s> Admin<'s> {
    fn of(server: &'s Server) -> Self {
        Self::named(server, "admin", "admin-password")
    }

    #[track_caller]
    fn named(server: &'s Server, username: &str, password: &str) -> Self {
        let body = json!({"username": username, "password": password});
        let reply = server.ask("POST", "/auth/login", &[JSON], body.to_string());
        assert_eq!(reply.status, 201, "{}", reply.text());
        let token = reply.json()["content"]["jwt_token"].clone();
        Self {
            server,
            authorization: format!("BEARER {}", token.as_str().unwrap()),
        }
    }

    fn ask(&self, method: &str, target: &str, body: &Value) -> Reply {
        let headers = [("Authorization", self.authorization.as_str()), JSON];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.server.ask(method, target, &headers, body)
    }

    /// The content of a reply, which must be a success.
    #[track_caller]
    fn content(&self, method: &str, target: &str, body: &Value) -> Value {
        let reply = self.ask(method, target, body);
        reply.good()["content"].clone()
    }

    #[track_caller]
    fn get(&self, target: &str) -> Value {
        self.content("GET", target, &Value::Null)
    }

    /// The executions of an occurrence, once there are so many.
    #[track_caller]
    fn executions(&self, received: u64, count: usize) -> Vec<Value> {
        until(&format!("execution {count}"), || {
            let shown = self.get(&format!("/event/received/{received}"));
            let executed = shown["executedEventContracts"].as_array().unwrap().clone();
            (executed.len() >= count).then_some(executed)
        })
    }

    /// What was sent and what came back.
    #[track_caller]
    fn detail(&self, execution: &Value) -> Value {
        self.get(&format!(
            "/event/received/execution-detail/{}",
            execution["detailId"]
        ))
    }
}

/// The id of the last event of the log.
fn last_id(server: &Server) -> u64 {
    let events = server.events("default");
    events.last().unwrap()["id"].as_u64().unwrap()
}

/// Checks an error: status, code, message, the order of the members, and that nothing was stored.
#[track_caller]
fn refused(reply: &Reply, status: u16, code: u32, message: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let error = reply.json();
    let uuid = error["errorUUID"].as_str().unwrap();
    let message = Value::from(message).to_string();
    assert_eq!(
        reply.text(),
        format!(r#"{{"message":{message},"code":{code},"errorUUID":"{uuid}"}}"#)
    );
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
}

/// A token with these claims, signed as the server signs.
fn signed(claims: &Value) -> String {
    strandlog::auth::jwt::Signer::hs256(JWT_SECRET.as_bytes())
        .unwrap()
        .sign(claims)
}
