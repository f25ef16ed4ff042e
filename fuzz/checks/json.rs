//! What the target `json` checks: the reader of JSON takes what serde_json takes, but for what it
//! says that it refuses, and reads the same values.

use serde::de::IgnoredAny;
use serde_json::Value;
use strandlog::json::write;
use strandlog::json::{FaultKind, Reader, text};

/// What is refused although it is JSON: see the descriptions of `Reader` and of its limits.
const STRICTER: [&str; 3] = [
    "it is nested too deeply",
    "an escape stands for a lone surrogate",
    "the number is longer than 1,024 bytes",
];

pub(crate) fn check(bytes: &[u8]) {
    let decoded = std::str::from_utf8(bytes);
    let body = match text(bytes) {
        Ok(body) => body,
        Err(fault) => {
            match decoded {
                Ok(whole) => assert!(whole.starts_with('\u{feff}')),
                Err(error) => assert_eq!(fault.offset, error.valid_up_to()),
            }
            return;
        }
    };
    assert_eq!(decoded, Ok(body));
    let theirs = serde_json::from_str::<IgnoredAny>(body);
    let mut reader = Reader::new(body, 0);
    match reader
        .value()
        .and_then(|value| reader.finish().map(|()| value))
    {
        Ok(value) => {
            assert!(theirs.is_ok(), "taken, but {theirs:?}");
            assert_eq!(value, body.trim_matches([' ', '\n', '\r', '\t']));
            // Some of what is JSON has no place in their tree: numbers out of its range.
            if let Ok(tree) = serde_json::from_str::<Value>(body) {
                let mut reader = Reader::new(body, 0);
                compare(&mut reader, &tree);
                assert_eq!(reader.finish(), Ok(()));
            }
        }
        Err(fault) => {
            assert_eq!(fault.kind, FaultKind::Json);
            assert!(fault.offset <= body.len());
            let stricter = STRICTER.contains(&&*fault.what);
            assert!(theirs.is_err() || stricter, "refused: {fault:?}");
        }
    }
    quote(body);
}

/// Reads the next value member by member.
fn compare(reader: &mut Reader<'_>, tree: &Value) {
    match tree {
        Value::Null => assert!(reader.null()),
        Value::Bool(value) => assert_eq!(reader.value(), Ok(if *value { "true" } else { "false" })),
        Value::Number(number) => {
            let whole = reader.clone().whole_number().expect("it was taken before");
            let text = reader.value().expect("it was taken before");
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let theirs = number
                .as_u64()
                .filter(|number| i64::try_from(*number).is_ok());
            assert_eq!(whole, theirs.filter(|_| digits), "{text}");
        }
        Value::String(string) => {
            let ours = reader.string().expect("it was taken before");
            assert_eq!(ours.as_deref(), Some(string.as_str()));
        }
        Value::Array(items) => {
            let mut array = reader.array().expect("it is one");
            for item in items {
                assert_eq!(array.next(reader), Ok(true));
                compare(reader, item);
            }
            assert_eq!(array.next(reader), Ok(false));
        }
        Value::Object(members) => {
            let mut object = reader.object().expect("it is one");
            let mut count = 0;
            while let Some(name) = object.next_any(reader).expect("it was taken before") {
                let mut again = reader.clone();
                let text = reader.value().expect("it was taken before");
                let member = members.get(&*name).expect("they have it, too");
                // Of a member that is there twice they keep the last one.
                if serde_json::from_str::<Value>(text).ok().as_ref() == Some(member) {
                    compare(&mut again, member);
                }
                count += 1;
            }
            assert!(count >= members.len());
        }
    }
}

/// What is written as a string reads back the same.
fn quote(body: &str) {
    let mut quoted = Vec::new();
    write::string(&mut quoted, body);
    let quoted = std::str::from_utf8(&quoted).expect("quoting keeps text");
    let mut reader = Reader::new(quoted, 0);
    let read = reader.string().expect("it was just written");
    assert_eq!(read.as_deref(), Some(body));
    let theirs = serde_json::from_str::<String>(quoted);
    assert_eq!(theirs.expect("it was just written"), body);
}
