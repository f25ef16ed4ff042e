//! What was pending when the server ended is done after it is started again; what was done is not.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::receiver::Scripted;

/// Answers, or hangs, by what is asked for and how often it was.
fn hanging_once(hangs: &'static str) -> Receiver {
    let hung = AtomicBool::new(false);
    Receiver::start(move |request| {
        let first = request.target == hangs && !hung.swap(true, Ordering::SeqCst);
        if first {
            Scripted::Hang
        } else {
            Scripted::status(200)
        }
    })
}

/// How often each path was asked for.
fn counts(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in receiver.received() {
        *counts.entry(request.target).or_default() += 1;
    }
    counts
}

#[test]
fn executions_without_an_outcome_run_again_and_others_do_not() {
    let receiver = hanging_once("/slow");
    let slow = receiver.url("/slow");
    let later = receiver.url("/later");
    let server = start_calling(&receiver, |settings| {
        add_contract(settings, PLACED, "slow", &slow, 0);
        add_contract(settings, PLACED, "later", &later, 1);
    });
    let token = shop_token(&server);
    assert_eq!(send(&server, PLACED, &token, "1").status, 200);
    // The first of the group is done and recorded, the second was called and has no outcome.
    receiver.wait_for(2);
    let executions = Admin::of(&server).executions(1, 1);
    assert_eq!(executions[0]["actionIdentifier"], "bill");
    let server = server.restart();
    let admin = Admin::of(&server);
    let executions = admin.executions(1, 3);
    let names: Vec<_> = executions
        .iter()
        .map(|execution| execution["actionIdentifier"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["bill", "slow", "later"]);
    assert_eq!(
        counts(&receiver),
        [("/bill", 1), ("/later", 1), ("/slow", 2)]
            .map(|(path, count)| (path.to_owned(), count))
            .into()
    );
    // Once more, nothing is left to do.
    let server = server.restart();
    assert_eq!(send(&server, PLACED, &token, "2").status, 200);
    Admin::of(&server).executions(2, 3);
    assert_eq!(receiver.received().len(), 7);
}

#[test]
fn the_place_waits_for_the_slowest() {
    let receiver = hanging_once("/slow");
    let slow = receiver.url("/slow");
    let server = start_calling(&receiver, |settings| {
        add_contract(settings, LONELY, "slow", &slow, 0);
    });
    let token = shop_token(&server);
    assert_eq!(send(&server, LONELY, &token, "1").status, 200);
    for n in 2..5 {
        let body = n.to_string();
        assert_eq!(send(&server, PLACED, &token, body).status, 200);
    }
    let admin = Admin::of(&server);
    admin.executions(4, 1);
    receiver.wait_for(4);
    let server = server.restart();
    Admin::of(&server).executions(1, 1);
    let counts = counts(&receiver);
    assert_eq!((counts["/slow"], counts["/bill"]), (2, 3));
}

#[test]
fn what_was_published_while_the_dialect_was_off_is_done_when_it_is_on_again() {
    let receiver = Receiver::answering(200);
    let server = start_calling(&receiver, |_| {});
    let mut kept = None;
    let server = server.restart_with(|settings| kept = settings.dialects.eventhos.take());
    server.publish(&json!({"stream": "s", "type": PLACED, "data": 1}));
    assert!(receiver.received().is_empty());
    let _server = server.restart_with(|settings| settings.dialects.eventhos = kept);
    assert_eq!(receiver.wait_for(1)[0].text(), "1");
}

#[test]
fn a_log_that_was_there_before_concerns_nobody() {
    let receiver = Receiver::answering(200);
    let server = Server::start_with(|settings| settings.dialects.eventhos = None);
    server.publish(&json!({"stream": "s", "type": PLACED, "data": 1}));
    let url = receiver.url("/bill");
    let server = server.restart_with(|settings| {
        let mut eventhos = Settings::development();
        eventhos.actions[0].url = url;
        settings.dialects.eventhos = Some(eventhos);
    });
    server.publish(&json!({"stream": "s", "type": PLACED, "data": 2}));
    assert_eq!(receiver.wait_for(1)[0].text(), "2");
}

#[test]
fn a_section_that_contradicts_itself_is_refused_by_name() {
    use strandlog::dialect::eventhos::settings::OauthClient;
    use strandlog::doors::Doors;

    type Change = fn(&mut Settings);
    let cases: [(Change, &str); 12] = [
        (|s| s.jwt_secret = PlainSecret::new("short"), "jwt_secret"),
        (|s| s.action_timeout_ms = 0, "action_timeout_ms"),
        (
            |s| s.clients.push(s.clients[0].clone()),
            "clients: \"shop\": it is there twice",
        ),
        (
            |s| s.systems[0].client = Some("nobody".to_owned()),
            "systems: \"shop\": there is no client \"nobody\"",
        ),
        (
            |s| s.events[1].system = "nowhere".to_owned(),
            "there is no system \"nowhere\"",
        ),
        (|s| s.events[1].identifier = "a\u{1}".to_owned(), "events"),
        (
            |s| s.actions[0].url = "mailto:x".to_owned(),
            "actions: \"bill\": the URL cannot be called",
        ),
        (
            |s| s.actions[0].headers = pairs(&[("X", "${.[}")]),
            "actions: \"bill\": the template",
        ),
        (
            |s| s.actions[0].reply_to = Some("nothing".to_owned()),
            "there is no event \"nothing\" to reply to",
        ),
        (
            |s| {
                s.actions[0].oauth = Some(OauthClient {
                    url: "x".to_owned(),
                    client_id: String::new(),
                    client_secret: PlainSecret::new(""),
                });
            },
            "actions: \"bill\"",
        ),
        (
            |s| s.contracts[0].action = "nothing".to_owned(),
            "there is no action \"nothing\"",
        ),
        (
            |s| {
                s.users.push(User {
                    name: "u".to_owned(),
                    password: PlainSecret::new("p"),
                    permissions: vec!["everything".to_owned()],
                });
            },
            "users: \"u\"",
        ),
    ];
    let server = Server::start_with(|settings| settings.dialects.eventhos = None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for (change, told) in cases {
        let mut settings = strandlog::doors::Settings::development();
        change(settings.dialects.eventhos.as_mut().unwrap());
        let opened = runtime.block_on(Doors::open(server.app.clone(), settings));
        let failure = opened.unwrap_err().to_string();
        assert!(
            failure.contains("dialect.eventhos") && failure.contains(told),
            "{failure}"
        );
    }
}
