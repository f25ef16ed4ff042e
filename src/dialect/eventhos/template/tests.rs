//! What templates become.

use super::*;

const DOCUMENT: &str = r#"{
    "headers": {"x-request-id": "r 1", "host": "a"},
    "query": {"q": "a&b=c"},
    "body": {"id": 7, "big": 9007199254740993, "tiny": 1e-7, "text": "a/b \"c\"", "no": null,
        "list": [1, {"x": 2}], "user": {"id": "u1", "first-name": "Ada", "dots": "..", "empty": ""},
        "line": "a\r\nX-Evil: 1", "hops": [{"first-name": "Bob"}]},
    "url": "http://a/event/send",
    "oauthResponse": {"headers": {}, "body": {"access_token": "tok"}}
}"#;

fn document() -> Document {
    Document::parse(DOCUMENT.to_owned()).unwrap()
}

fn text(template: &str) -> Option<String> {
    Text::parse(template).unwrap().expand(Some(&document()))
}

fn body(template: &str) -> String {
    let Body::Own(node) = Body::parse(Some(template)).unwrap() else {
        panic!("{template} is no body of its own");
    };
    let mut out = Vec::new();
    assert!(node.write(&mut out, Some(&document())));
    String::from_utf8(out).unwrap()
}

fn url(template: &str) -> Result<String, String> {
    Url::parse(template).unwrap().expand(Some(&document()))
}

#[test]
fn texts() {
    for (template, expanded) in [
        ("plain", Some("plain")),
        ("", Some("")),
        ("${.body.id}", Some("7")),
        ("id-${.body.id}-${.body.user.id}", Some("id-7-u1")),
        (
            "Bearer ${.oauthResponse.body.access_token}",
            Some("Bearer tok"),
        ),
        ("${.headers.x-request-id}", Some("r 1")),
        ("${.body.user.first-name}", Some("Ada")),
        ("${.body.hops[0].first-name}", Some("Bob")),
        ("${.body['user']['first-name']}", Some("Ada")),
        ("${.body.big}", Some("9007199254740993")),
        ("${.body.tiny}", Some("1e-7")),
        ("${.body.no}", Some("null")),
        ("${.body.list}", Some(r#"[1,{"x":2}]"#)),
        ("${.body..x}", Some("2")),
        ("${..access_token}", Some("tok")),
        ("${.url}", Some("http://a/event/send")),
        ("${.body.nothing}", None),
        ("a${.body.nothing}b", Some("ab")),
        (
            "${x} ${} $ {.body.id} ${.body.id",
            Some("${x} ${} $ {.body.id} ${.body.id"),
        ),
    ] {
        assert_eq!(text(template).as_deref(), expanded, "{template}");
    }
}

#[test]
fn bodies_keep_the_type_of_what_a_template_alone_finds() {
    for (template, expanded) in [
        (r#"{"a":"${.body.id}"}"#, r#"{"a":7}"#),
        (r#"{"a":"no ${.body.id}"}"#, r#"{"a":"no 7"}"#),
        (
            r#"{"z":"${.body.big}","a":{"b":"${.body.tiny}","c":[ "${.body.id}" ]}}"#,
            r#"{"z":9007199254740993,"a":{"b":1e-7,"c":[ "${.body.id}" ]}}"#,
        ),
        (r#"{"a":"${.body.list}"}"#, r#"{"a":[1, {"x": 2}]}"#),
        (r#"{"a":"${.body.text}"}"#, r#"{"a":"a/b \"c\""}"#),
        (r#"{"a":"<${.body.text}>"}"#, r#"{"a":"<a/b \"c\">"}"#),
        (r#"{"a":"${.body.no}","b":1}"#, r#"{"a":null,"b":1}"#),
        (r#"{"a":"${.body.nothing}","b":1.50}"#, r#"{"b":1.50}"#),
        (r#"{"a":"x${.body.nothing}"}"#, r#"{"a":"x"}"#),
        (
            r#"{"${.body.id}":9007199254740993}"#,
            r#"{"${.body.id}":9007199254740993}"#,
        ),
        (r#"[1,"${.body.id}"]"#, r#"[1,"${.body.id}"]"#),
    ] {
        assert_eq!(body(template), expanded, "{template}");
        serde_json::from_str::<serde_json::Value>(&body(template)).unwrap();
    }
}

#[test]
fn an_empty_body_stands_for_the_received_one() {
    for empty in [None, Some("{}"), Some(" { } "), Some("null"), Some("[ ]")] {
        assert!(
            matches!(Body::parse(empty), Ok(Body::Received)),
            "{empty:?}"
        );
    }
}

#[test]
fn urls_escape_what_they_are_given() {
    for (template, expanded) in [
        ("http://h/users/${.body.id}", "http://h/users/7"),
        ("http://h/${.body.text}/x", "http://h/a%2Fb%20%22c%22/x"),
        (
            "http://h/a-${.body.id}/b?x=${.query.q}&y=${.body.nothing}",
            "http://h/a-7/b?x=a%26b%3Dc&y=",
        ),
        ("http://h?x=${.body.id}", "http://h?x=7"),
        ("http://h/${.body.list[?@.x==2].x}?k", "http://h/2?k"),
        ("http://h/${.body.line}", "http://h/a%0D%0AX-Evil%3A%201"),
        ("http://h/plain/..", "http://h/plain/.."),
    ] {
        assert_eq!(url(template).as_deref(), Ok(expanded), "{template}");
    }
    for bad in [
        "http://h/a/${.body.nothing}",
        "http://h/a/${.body.user.empty}",
        "http://h/a/${.body.user.dots}/admin",
    ] {
        assert!(url(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_no_template_is_refused_in_words() {
    for bad in ["${.body[}", "${.body[?]}", "${.a..b..c}"] {
        let problem = Text::parse(bad).unwrap_err();
        assert!(problem.contains("template"), "{problem}");
    }
    let long = format!("${{.{}}}", "a".repeat(PATH_LEN_MAX));
    assert!(Text::parse(&long).unwrap_err().contains("longer"));
    for host in [
        "http://${.body.host}/",
        "${.body.url}",
        "http://a.${.body.x}:1",
    ] {
        assert!(Url::parse(host).unwrap_err().contains("host"), "{host}");
    }
    assert!(Body::parse(Some(r#"{"a":{"b":"${.x[}"}}"#)).is_err());
}

#[test]
fn a_url_is_judged_with_something_in_place_of_its_templates() {
    let url = Url::parse("http://h:1/a/${.body.id}?b=${.body.c}").unwrap();
    assert_eq!(url.sample(), "http://h:1/a/x?b=x");
    assert!(url.has_templates());
    assert!(!Url::parse("http://h/").unwrap().has_templates());
}
