//! Bodies of publishes: what they mean, and what is refused, by name and place.

use super::*;

fn json(text: &str) -> Result<Parsed<'_>, Fault> {
    parse(text, Form::Json, None)
}

#[track_caller]
fn refused(text: &str, kind: FaultKind, member: Option<&str>) -> Fault {
    let fault = json(text).expect_err("the body is refused");
    assert_eq!(fault.kind, kind, "{text}: {}", fault.what);
    assert_eq!(fault.member.as_deref(), member, "{text}: {}", fault.what);
    fault
}

#[test]
fn an_event_is_read_whole_and_its_data_as_it_stands() {
    let text = r#" {"stream":"a\u002fb","type":"t","data": {"x": 1.0e0 , "x":[]} ,
        "metadata":{"m":1},"tags":["one","two"],"eventId":"e","time":"1970-01-01T00:00:01Z",
        "expectedSequence":7,"idempotencyKey":"k"} "#;
    let parsed = json(text).unwrap();
    let event = parsed.events[0].to_new();
    assert_eq!(event.stream.as_str(), "a/b");
    assert_eq!(event.event_type.as_str(), "t");
    assert_eq!(event.data, Data::Json(br#"{"x": 1.0e0 , "x":[]}"#));
    assert_eq!(event.metadata, Some(&br#"{"m":1}"#[..]));
    assert_eq!(
        event.tags.iter().map(TagLabel::as_str).collect::<Vec<_>>(),
        ["one", "two"]
    );
    assert_eq!(event.uid.unwrap().as_str(), "e");
    assert_eq!(event.time_us, Some(1_000_000));
    assert_eq!(event.expected_sequence, Some(7));
    assert_eq!(event.key.unwrap().key.as_str(), "k");
    assert_eq!(parsed.events[0].raw, text.trim());
}

#[test]
fn a_body_is_an_event_or_an_array_or_a_batch_or_lines() {
    let one = r#"{"stream":"s","type":"t","data":null}"#;
    assert_eq!(json(one).unwrap().events.len(), 1);
    assert_eq!(json(&format!("[{one},{one}]")).unwrap().events.len(), 2);
    let batch = format!(
        r#"{{"conditions":[{{"query":{{"types":["t"],"tags":["x"]}},"after":3}}],"events":[{one}]}}"#
    );
    let parsed = json(&batch).unwrap();
    assert_eq!((parsed.events.len(), parsed.conditions.len()), (1, 1));
    assert_eq!(parsed.conditions[0].after, 3);
    assert_eq!(parsed.conditions[0].filter.types[0].as_str(), "t");
    let lines = format!("{one}\r\n\n  \n{one}");
    assert_eq!(parse(&lines, Form::Ndjson, None).unwrap().events.len(), 2);
}

#[test]
fn the_stream_of_the_path_need_not_be_named_again() {
    let stream = StreamName::new("s").unwrap();
    let read = |text| parse(text, Form::Json, Some(&stream)).map(|_| ());
    assert_eq!(read(r#"{"type":"t","data":1}"#), Ok(()));
    assert_eq!(read(r#"{"stream":"s","type":"t","data":1}"#), Ok(()));
    let other = read(r#"{"stream":"x","type":"t","data":1}"#).unwrap_err();
    assert_eq!(other.member.as_deref(), Some("stream"));
}

#[test]
fn a_payload_that_is_no_json_comes_as_base64() {
    let parsed = json(r#"{"stream":"s","type":"t","dataBase64":"AP8=","contentType":"image/x"}"#);
    let parsed = parsed.unwrap();
    let want = Data::Bytes {
        content_type: "image/x",
        bytes: &[0, 255],
    };
    assert_eq!(parsed.events[0].to_new().data, want);
    let rest = r#""stream":"s","type":"t""#;
    for (members, member) in [
        (r#""dataBase64":"AP8=""#, "contentType"),
        (r#""contentType":"a/b""#, "dataBase64"),
        (r#""dataBase64":"AP8","contentType":"a/b""#, "dataBase64"),
        (
            r#""dataBase64":"AP8=","contentType":"a/b","data":1"#,
            "data",
        ),
    ] {
        refused(
            &format!("{{{rest},{members}}}"),
            FaultKind::Member,
            Some(member),
        );
    }
}

#[test]
fn what_is_missing_or_of_the_wrong_kind_is_named() {
    use FaultKind::{Json, Member, Name, NoEvents, TooLarge, UnknownMember};
    for (text, kind, member) in [
        (r#"{"type":"t","data":1}"#, Member, Some("stream")),
        (r#"{"stream":"s","data":1}"#, Member, Some("type")),
        (r#"{"stream":"s","type":"t"}"#, Member, Some("data")),
        (r#"{"stream":"","type":"t","data":1}"#, Name, Some("stream")),
        (
            r#"{"stream":"a\u0000","type":"t","data":1}"#,
            Name,
            Some("stream"),
        ),
        (
            r#"{"stream":7,"type":"t","data":1}"#,
            Member,
            Some("stream"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"tag":[]}"#,
            UnknownMember,
            Some("tag"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"data":1}"#,
            Json,
            Some("data"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"tags":["a","a"]}"#,
            Member,
            Some("tags"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"tags":"a"}"#,
            Member,
            Some("tags"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"metadata":[]}"#,
            Member,
            Some("metadata"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"time":"today"}"#,
            Member,
            Some("time"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"expectedSequence":-1}"#,
            Member,
            Some("expectedSequence"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"expectedSequence":1.0}"#,
            Member,
            Some("expectedSequence"),
        ),
        (
            r#"{"stream":"s","type":"t","data":1,"idempotencyKey":"é"}"#,
            Name,
            Some("idempotencyKey"),
        ),
        (r#"{"events":[],"event":1}"#, UnknownMember, Some("event")),
        (r#"{"events":7}"#, Member, Some("events")),
        (
            r#"{"conditions":[{"query":{"type":"x"}}]}"#,
            UnknownMember,
            Some("conditions/query/type"),
        ),
        (
            r#"{"conditions":[{"after":1}]}"#,
            Member,
            Some("conditions"),
        ),
        ("[]", NoEvents, None),
        (r#"{"events":[]}"#, NoEvents, None),
        ("7", Member, None),
        ("[7]", Member, None),
        ("{", Json, None),
        ("", Json, None),
    ] {
        refused(text, kind, member);
    }
    let metadata = format!(
        r#"{{"stream":"s","type":"t","data":1,"metadata":{{"a":"{}"}}}}"#,
        "x".repeat(METADATA_LEN_MAX)
    );
    refused(&metadata, TooLarge, Some("metadata"));
}

#[test]
fn null_for_an_optional_member_means_that_it_is_absent() {
    let text = r#"{"stream":"s","type":"t","data":null,"metadata":null,"tags":null,"eventId":null,
        "time":null,"expectedSequence":null,"idempotencyKey":null}"#;
    let parsed = json(text).unwrap();
    let event = parsed.events[0].to_new();
    assert_eq!(event.data, Data::Json(b"null"));
    assert!(event.metadata.is_none() && event.uid.is_none() && event.key.is_none());
}

#[test]
fn a_bad_event_in_the_middle_is_named_by_index_line_and_byte() {
    let good = r#"{"stream":"s","type":"t","data":1}"#;
    let fault = json(&format!("[{good},{good},{{\"stream\":\"s\"}},{good}]")).unwrap_err();
    assert_eq!(fault.index, Some(2));
    assert_eq!(fault.offset, 1 + 2 * (good.len() + 1));
    let lines = format!("{good}\n\n{good} x\n{good}");
    let fault = parse(&lines, Form::Ndjson, None).unwrap_err();
    assert_eq!((fault.index, fault.line), (Some(1), Some(3)));
    assert_eq!(fault.offset, good.len() + 2 + good.len() + 1);
}

#[test]
fn a_batch_has_an_end() {
    let good = r#"{"stream":"s","type":"t","data":1}"#;
    let lines = format!("{good}\n").repeat(BATCH_EVENTS_MAX);
    assert_eq!(
        parse(&lines, Form::Ndjson, None).unwrap().events.len(),
        BATCH_EVENTS_MAX
    );
    let fault = parse(&(lines + good), Form::Ndjson, None).unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooManyEvents);
}
