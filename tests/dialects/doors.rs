//! Which door a path belongs to.

use crate::harness::Server;

#[test]
fn a_dialect_that_is_off_leaves_its_paths_to_nobody() {
    let server = Server::start_with(|settings| settings.dialects = Default::default());
    for path in [
        "/api/v1/streams/a/events",
        "/api/monolith/event-store/1-2",
        "/v1/contexts/default/events",
        "/v1/handlers/events",
        "/event/send",
        "/auth/token",
        "/newstore/events",
    ] {
        server.get(path).problem(404, "not-found");
    }
}

#[test]
fn the_root_answers_ok_to_whoever_does_not_ask_for_html() {
    let server = Server::start();
    let root = server.get("/");
    assert_eq!((root.status, root.text()), (200, "Ok"));
}
