//! Bodies of a publish: JSON and lines that are none, batches over the limits, other forms.

use strandlog::app::Limits;

use super::bench::Answer::Problem;
use super::bench::{Bench, GOOD, JSON, post, request};
use crate::harness::EVENTS;

pub(super) fn limits(_limits: &mut Limits) {}

fn event(data: &str) -> String {
    format!(r#"{{"stream":"s","type":"t","data":{data}}}"#)
}

fn lines(lines: &str) -> Vec<u8> {
    request(
        "POST",
        EVENTS,
        "Content-Type: application/x-ndjson\r\n",
        lines,
    )
}

pub(super) fn json_that_is_none_is_refused(bench: &mut Bench) {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut not_utf8 = event(r#""x""#).into_bytes();
    not_utf8[33] = 0xff;
    let problem = bench.problem(post(&not_utf8), 400, "invalid-json");
    assert_eq!(problem["offset"], 33);
    for (body, offset) in [
        (event(r#""\ud800""#), None),
        (event(&deep(10_000)), None),
        (event(&deep(129)), None),
        (event(&"1".repeat(1 << 20)), None),
        (event("NaN"), Some(32)),
        (event("01"), Some(33)),
        (event("[1,]"), Some(35)),
        (format!("\u{feff}{GOOD}"), Some(0)),
        (format!("{GOOD},"), Some(GOOD.len())),
        (format!("{GOOD}{GOOD}"), Some(GOOD.len())),
        (format!("{{{}", &GOOD[1..GOOD.len() - 1]), None),
        (
            r#"{"stream":"s","type":"t","data":1,"data":2}"#.to_owned(),
            None,
        ),
        ("'".to_owned(), Some(0)),
        ("[".repeat(1 << 20), None),
    ] {
        let problem = bench.problem(post(&body), 400, "invalid-json");
        let found = problem["offset"].as_u64().expect("the byte is named");
        if let Some(offset) = offset {
            assert_eq!(found, offset as u64, "{problem}");
        }
    }
    bench.refuses(post(""), Problem(400, "invalid-json"));
    bench.takes(post(event(&deep(128))), 201);
}

pub(super) fn one_bad_line_refuses_all_lines(bench: &mut Bench) {
    bench.refuses(lines("\n\n"), Problem(400, "empty-batch"));
    bench.refuses(
        lines(&format!("[{GOOD}]\n")),
        Problem(400, "invalid-member"),
    );
    let broken = format!("{GOOD}\n").repeat(9_998) + "{\n" + GOOD;
    let problem = bench.problem(lines(&broken), 400, "invalid-json");
    assert_eq!(
        (&problem["line"], &problem["index"]),
        (&9_999.into(), &9_998.into())
    );
    let data = "1".repeat(16 << 20);
    let too_long = format!("{GOOD}\n{}\n", event(&format!("\"{data}\"")));
    let problem = bench.problem(lines(&too_long), 413, "too-large");
    assert_eq!(
        (&problem["line"], &problem["member"]),
        (&2.into(), &"data".into())
    );
    let reply = bench.takes(lines(&format!("{GOOD}\n\n{GOOD}")), 201);
    assert_eq!(reply.json()["lastId"], 2);
}

pub(super) fn batches_have_limits(bench: &mut Bench) {
    for body in ["[]", r#"{"events":[]}"#] {
        bench.refuses(post(body), Problem(400, "empty-batch"));
    }
    let many = format!("[{}{GOOD}]", format!("{GOOD},").repeat(10_000));
    bench.refuses(post(many), Problem(413, "too-many-events"));
    let metadata = "x".repeat(65 << 10);
    let body = format!(r#"{{"stream":"s","type":"t","data":1,"metadata":{{"m":"{metadata}"}}}}"#);
    bench.refuses(post(body), Problem(413, "too-large"));
    for (body, code) in [
        (
            r#"{"stream":"s","type":"t","data":1,"daat":1}"#,
            "unknown-member",
        ),
        (r#"{"stream":"s","type":"t"}"#, "invalid-member"),
        ("7", "invalid-member"),
    ] {
        bench.refuses(post(body), Problem(400, code));
    }
}

pub(super) fn bodies_in_other_forms_are_refused(bench: &mut Bench) {
    for headers in [
        "",
        "Content-Type: text/xml\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json; charset=latin1\r\n",
        // No coding is taken, so there is nothing that could unfold into more than was sent.
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        "Content-Type: application/json\r\nContent-Encoding: br, gzip\r\n",
    ] {
        let bytes = request("POST", EVENTS, headers, GOOD);
        bench.refuses(bytes, Problem(415, "unsupported-media-type"));
    }
    let two = format!("{JSON}{JSON}");
    bench.refuses(
        request("POST", EVENTS, &two, GOOD),
        Problem(400, "invalid-header"),
    );
    for content_type in ["image", "/png", "image/", "a b/c", "image/p@g", ";"] {
        let body = format!(
            r#"{{"stream":"s","type":"t","dataBase64":"AP8=","contentType":"{content_type}"}}"#
        );
        let problem = bench.problem(post(body), 400, "invalid-member");
        assert_eq!(problem["member"], "contentType", "{problem}");
    }
    let whole = "text/plain; charset=\\\"utf-8\\\"";
    let body =
        format!(r#"{{"stream":"s","type":"t","dataBase64":"AP8=","contentType":"{whole}"}}"#);
    bench.takes(post(body), 201);
}
