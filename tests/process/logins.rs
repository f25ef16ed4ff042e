//! Logins: each costs the same, and a flood of them costs nobody else anything.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Server, strandlog, wait_until};
use crate::http::{Answer, publish, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");
/// The most hashes that wait or run; see `src/auth/secret.rs`.
const PLACES_MAX: u64 = 64;
/// How long a refused login waits, so that the flood is one of logins and not of refusals.
const PAUSE: Duration = Duration::from_millis(20);
/// More logins at a time than find a place.
const FLOOD: usize = 80;

/// A server with a client and a user of the config file, and an administrator.
fn start(directory: &Path) -> Server {
    let config = directory.join("strandlog.toml");
    let text = format!(
        r#"
        listen = "127.0.0.1:0"
        data = '{}'
        [dialect.eventhos]
        jwt_secret = "another-32-bytes-of-secret-material-here"
        clients = [{{ id = "shop", secret = "shop-secret" }}]
        systems = [{{ identifier = "shop", class = "producer", client = "shop" }}]
        events = [{{ identifier = "placed", system = "shop" }}]
        users = [{{ name = "admin", password = "admin-password", permissions = ["*"] }}]
        "#,
        directory.join("data").display()
    );
    fs::write(&config, text).unwrap();
    let mut command = strandlog(["serve", "--log-level", "error", "--config"]);
    command.arg(config);
    Server::spawn(command)
}

fn login(address: &str, user: &str, password: &str) -> Answer {
    let body = format!(r#"{{"username":"{user}","password":"{password}"}}"#);
    request(address, "POST", "/auth/login", &[JSON], &body).unwrap()
}

fn token(address: &str, client: &str, secret: &str) -> Answer {
    let body = format!(
        r#"{{"grant_type":"client_credentials","client_id":"{client}","client_secret":"{secret}"}}"#
    );
    request(address, "POST", "/auth/token", &[JSON], &body).unwrap()
}

fn jwt(answer: &Answer) -> String {
    let json: Value = serde_json::from_str(&answer.body).unwrap();
    json["content"]["jwt_token"].as_str().unwrap().to_owned()
}

/// A number of `/metrics`.
#[track_caller]
fn metric(address: &str, name: &str) -> u64 {
    let answer = request(address, "GET", "/metrics", &[], "").unwrap();
    let lines = answer.body.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next().unwrap().parse().unwrap()
}

fn made(server: &Server) -> u64 {
    metric(&server.address, "strandlog_secret_hashes_total")
}

#[test]
fn every_login_costs_one_hash_whoever_it_is_and_whatever_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let address = &server.address;
    let admin = format!("BEARER {}", jwt(&login(address, "admin", "admin-password")));
    // A client that a route makes has a hash of its own in place of a secret in the config file.
    let made_one = request(
        address,
        "POST",
        "/auth/client",
        &[JSON, ("Authorization", &admin)],
        r#"{"name":"Made","description":"d","identifier":"made","roles":[]}"#,
    )
    .unwrap();
    assert_eq!(made_one.status, 201, "{}", made_one.body);
    let json: Value = serde_json::from_str(&made_one.body).unwrap();
    let id = json["content"]["clientId"].as_str().unwrap();
    let secret = json["content"]["clientSecret"].as_str().unwrap();

    let mut before = made(&server);
    let mut cost = |what: &str, status: u16, answer: Answer| {
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        let after = made(&server);
        assert_eq!(after - before, 1, "{what}");
        before = after;
        answer.body
    };
    let unknown = cost("an unknown user", 401, login(address, "nobody", "x"));
    let wrong = cost("a wrong password", 401, login(address, "admin", "x"));
    let message = |body: &str| {
        let json: Value = serde_json::from_str(body).unwrap();
        (json["message"].clone(), json["code"].clone())
    };
    assert_eq!(message(&unknown), message(&wrong));
    cost("a user", 201, login(address, "admin", "admin-password"));
    cost("an unknown client", 404, token(address, "nobody", "x"));
    cost("a wrong secret", 401, token(address, "shop", "x"));
    cost("a client", 201, token(address, "shop", "shop-secret"));
    cost(
        "a wrong secret of one that was made",
        401,
        token(address, id, "x"),
    );
    cost("one that was made", 201, token(address, id, secret));
}

#[test]
fn a_flood_of_logins_is_refused_and_others_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let access_key = jwt(&token(&server.address, "shop", "shop-secret"));
    let flood: Vec<_> = (0..FLOOD)
        .map(|_| {
            let address = server.address.clone();
            thread::spawn(move || {
                let body = r#"{"username":"admin","password":"wrong"}"#;
                // Until the server is gone.
                while let Ok(answer) = request(&address, "POST", "/auth/login", &[JSON], body) {
                    match answer.status {
                        401 => {}
                        429 => thread::park_timeout(PAUSE),
                        other => panic!("a login is answered with {other}"),
                    }
                }
            })
        })
        .collect();
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    let running_max = (cores / 2).clamp(1, 2);
    let gauge = |name: &str| metric(&server.address, &format!("strandlog_secret_hashes_{name}"));
    wait_until("logins are refused", || gauge("refused_total") > 0);
    for number in 0..5 {
        let (running, waiting) = (gauge("running"), gauge("waiting"));
        assert!(running <= running_max, "{running} hashes run at a time");
        assert!(running + waiting <= PLACES_MAX, "{running} + {waiting}");
        // Whoever needs no hash does not notice.
        let event = format!(r#"{{"stream":"s","type":"t","data":{number}}}"#);
        publish(&server.address, &event).unwrap();
        let sent = request(
            &server.address,
            "POST",
            "/event/send?event-identifier=placed",
            &[JSON, ("access-key", &access_key)],
            "{}",
        );
        assert_eq!(sent.unwrap().status, 203);
    }
    drop(server);
    for client in flood {
        client.join().unwrap();
    }
}
