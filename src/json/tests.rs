//! The reader takes what serde_json takes, less lone surrogates and depth, and names the byte.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn read(text: &str) -> Result<&str, Fault> {
    let mut reader = Reader::new(text, 0);
    let value = reader.value()?;
    reader.finish()?;
    Ok(value)
}

#[track_caller]
fn wrong_at(text: &str, offset: usize) {
    let fault = read(text).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Json);
    assert_eq!(fault.offset, offset, "{text:?}: {}", fault.what);
}

#[test]
fn values_are_handed_out_as_they_stand() {
    for text in [
        "null",
        "-0.0e+10",
        "12345678901234567890.12345678901234567890",
        "\"\"",
        "\"a long string with \\\"escapes\\\" and \\ud83d\\udeeb in it\"",
        "[]",
        "{}",
        "[1,[2,{\"a\":[]}],{}]",
        "{ \"a\" : 1 ,\n \"a\" : [ ] }",
        "\"\u{1f6eb}\u{7f}\"",
    ] {
        assert_eq!(read(text), Ok(text));
        assert_eq!(read(&format!(" \t{text}\r\n")), Ok(text));
    }
}

#[test]
fn what_is_not_json_is_refused_at_its_byte() {
    wrong_at("", 0);
    wrong_at("[1,]", 3);
    wrong_at("[1 2]", 3);
    wrong_at("{\"a\":1,}", 7);
    wrong_at("{\"a\" 1}", 5);
    wrong_at("{a:1}", 1);
    wrong_at("[1}", 2);
    wrong_at("{} {}", 3);
    wrong_at("NaN", 0);
    wrong_at("nul", 0);
    wrong_at("+1", 0);
    wrong_at("01", 1);
    wrong_at("1.", 2);
    wrong_at("1e", 2);
    wrong_at("\"a\nb\"", 2);
    wrong_at("\"abcdefghij\\x\"", 12);
    wrong_at("\"unfinished", 11);
}

#[test]
fn lone_surrogates_are_refused() {
    wrong_at("\"\\ud800\"", 1);
    wrong_at("\"\\udc00\"", 1);
    wrong_at("\"x\\ud83d\\ud83d\"", 2);
    wrong_at("\"\\ud83dx\"", 1);
    assert!(read("\"\\ud83d\\udeeb\"").is_ok());
}

#[test]
fn depth_has_an_end_and_the_stack_does_not_feel_it() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(JSON_DEPTH_MAX)).is_ok());
    wrong_at(&nested(JSON_DEPTH_MAX + 1), JSON_DEPTH_MAX);
    wrong_at(&nested(1_000_000), JSON_DEPTH_MAX);
}

#[test]
fn a_number_as_long_as_a_book_is_refused() {
    assert!(read(&"1".repeat(NUMBER_LEN_MAX)).is_ok());
    wrong_at(&format!("[{}]", "1".repeat(1 << 20)), 1);
}

#[test]
fn text_is_utf8_without_a_mark() {
    assert_eq!(text(b"ok"), Ok("ok"));
    assert_eq!(text(b"ab\xff").unwrap_err().offset, 2);
    assert_eq!(text(b"\xef\xbb\xbf{}").unwrap_err().offset, 0);
}

#[test]
fn members_are_known_and_there_once() {
    let read = |text| {
        let mut reader = Reader::new(text, 100);
        let mut object = reader.object().unwrap();
        let mut found = Vec::new();
        while let Some(name) = object.next(&mut reader, &["a", "b"])? {
            found.push((name, reader.value()?.to_owned()));
        }
        reader.finish()?;
        Ok::<_, Fault>(found)
    };
    assert_eq!(read("{}"), Ok(vec![]));
    let both = vec![("b", "1".to_owned()), ("a", "[2]".to_owned())];
    assert_eq!(read("{\"b\":1, \"\\u0061\":[2] }"), Ok(both));
    let unknown = read("{\"a\":1,\"c\":2}").unwrap_err();
    assert_eq!(unknown.kind, FaultKind::UnknownMember);
    assert_eq!(
        (unknown.offset, unknown.member.as_deref()),
        (107, Some("c"))
    );
    let twice = read("{\"a\":1,\"a\":2}").unwrap_err();
    assert_eq!((twice.offset, twice.member.as_deref()), (107, Some("a")));
    for bad in [
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1",
        "{\"a\"}",
    ] {
        assert_eq!(read(bad).unwrap_err().kind, FaultKind::Json, "{bad}");
    }
}

#[test]
fn members_that_are_not_known_are_passed_over() {
    let read = |text| {
        let mut reader = Reader::new(text, 0);
        let mut object = reader.object().unwrap();
        let mut seen = Vec::new();
        while let Some(name) = object.next_known(&mut reader, &["a", "b"])? {
            seen.push((name, reader.value()?));
        }
        reader.finish()?;
        Ok::<_, Fault>(seen)
    };
    assert_eq!(
        read(r#"{"x":{"a":1},"b":2,"y":[],"y":3,"\u0061":4}"#),
        Ok(vec![("b", "2"), ("a", "4")])
    );
    assert_eq!(read(r#"{"x":1}"#), Ok(vec![]));
    for bad in [
        r#"{"a":1,"a":2}"#,
        r#"{"x":tru}"#,
        r#"{"x":1 "a":2}"#,
        r#"{"x":1,}"#,
        r#"{"x":}"#,
    ] {
        assert_eq!(read(bad).unwrap_err().kind, FaultKind::Json, "{bad}");
    }
}

#[test]
fn any_members_are_given_as_often_as_they_are_there() {
    let mut reader = Reader::new(r#"{"a":1,"b\n":[2],"a":3}"#, 0);
    let mut object = reader.object().unwrap();
    let mut seen = Vec::new();
    while let Some(name) = object.next_any(&mut reader).unwrap() {
        seen.push((name.into_owned(), reader.value().unwrap()));
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    assert_eq!(seen, [("a", "1"), ("b\n", "[2]"), ("a", "3")]);
}

#[test]
fn items_are_parted_by_commas() {
    let read = |text| {
        let mut reader = Reader::new(text, 0);
        let mut array = reader.array().unwrap();
        let mut count = 0;
        while array.next(&mut reader)? {
            reader.value()?;
            count += 1;
        }
        reader.finish()?;
        Ok::<_, Fault>(count)
    };
    assert_eq!(read("[]"), Ok(0));
    assert_eq!(read("[1, 2 ,3]"), Ok(3));
    for bad in ["[1,]", "[,1]", "[1 2]", "[1", "[1}"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

/// Texts that are almost JSON: pieces of it, in any order.
fn almost_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"a\"",
        "\\u0041",
        "\\n",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E",
        "12",
        "true",
        "false",
        "null",
        " ",
        "\n",
        "\t",
        "\u{1}",
        "é",
        "\u{1f6eb}",
        "{\"a\":1}",
        "[1,2]",
        "\"\\\"\"",
        "abcdefgh",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Values that are JSON, written by serde_json.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string())
}

proptest! {
    #[test]
    fn the_reader_accepts_what_serde_json_accepts(text in prop_oneof![almost_json(), json()]) {
        let theirs = serde_json::from_str::<&RawValue>(&text);
        let ours = read(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}", text);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(ours, theirs.get());
        }
    }

    #[test]
    fn strings_mean_what_serde_json_says(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        let mut reader = Reader::new(&quoted, 0);
        prop_assert_eq!(reader.string().unwrap().unwrap(), text);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(text) = text(&bytes) {
            let _ = read(text);
        }
    }
}

/// The members of an object of any names, each as name and value.
fn members(text: &str) -> Result<Vec<(String, &str)>, Fault> {
    let mut reader = Reader::new(text, 0);
    let mut object = reader.object().unwrap();
    let mut members = Vec::new();
    while let Some(name) = object.next_any(&mut reader)? {
        members.push((name.into_owned(), reader.value_within(JSON_DEPTH_MAX - 1)?));
    }
    reader.finish()?;
    Ok(members)
}

#[test]
fn members_of_any_name_come_as_often_as_they_are_there() {
    let found = members("{ \"a\" : [1 ], \"\\u0061\":{} ,\"\":null}").unwrap();
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    assert_eq!(found, [("a", "[1 ]"), ("a", "{}"), ("", "null")]);
    assert_eq!(members("{}"), Ok(Vec::new()));
    for broken in [
        "{\"a\":1,}",
        "{,}",
        "{\"a\" 1}",
        "{\"a\":1",
        "{a:1}",
        "{\"a\":1}}",
    ] {
        assert_eq!(members(broken).is_ok(), read(broken).is_ok(), "{broken}");
        assert!(members(broken).is_err(), "{broken}");
    }
}

#[test]
fn an_object_gone_into_counts_for_the_depth() {
    for (depth, good) in [(JSON_DEPTH_MAX, true), (JSON_DEPTH_MAX + 1, false)] {
        let inner = depth - 1;
        let text = format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner));
        assert_eq!(read(&text).is_ok(), good, "{depth}");
        assert_eq!(members(&text).is_ok(), good, "{depth}");
    }
}
