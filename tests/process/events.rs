//! Events to import, and events that came back.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::harness::{Server, run_ok};

/// An event as far as these tests look at it, in its import or its export form.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) id: Option<u64>,
    pub(crate) stream: String,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) sequence: Option<u64>,
    pub(crate) data: Box<RawValue>,
}

impl Line {
    pub(crate) fn read(text: &str) -> Vec<Self> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What must be the same before and after.
    fn content(&self) -> (&str, &str, &str) {
        (&self.stream, &self.event_type, self.data.get())
    }
}

/// `count` events for an import, with data that a reader who understands it would be tempted to
/// change: spaces, escapes, numbers that are equal and look different, equal names.
pub(crate) fn file_of(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let data = match number % 4 {
            0 => format!(r#"{{ "n" : {number} , "x":1.0e2,"y":100.0 }}"#),
            1 => format!(r#"["\u00e9","é","\/","/",{number}]"#),
            2 => format!(r#""{number} 𝄞 \ud834\udd1e""#),
            _ => format!(r#"{{"z":{number},"a":12345678901234567890123,"deep":[[[[null]]]]}}"#),
        };
        let key = if number % 3 == 0 {
            format!(r#""idempotencyKey":"key-{number}","#)
        } else {
            String::new()
        };
        text.push_str(&format!(
            "{{\"stream\":\"stream-{}\",\"type\":\"Type{}\",{key}\"data\":{data}}}\n",
            number % 17,
            number % 5
        ));
    }
    text
}

/// Everything in the log `default`.
pub(crate) fn exported(server: &Server) -> Vec<Line> {
    Line::read(&run_ok(["export", "--url", &server.url()]))
}

/// The log holds the events of `file`, each once, in its order, under dense ids.
#[track_caller]
pub(crate) fn assert_holds_exactly(server: &Server, file: &str) {
    let imported = Line::read(file);
    let exported = exported(server);
    assert_eq!(exported.len(), imported.len());
    for ((id, exported), imported) in (1_u64..).zip(&exported).zip(&imported) {
        assert_eq!(exported.id, Some(id));
        assert_eq!(exported.content(), imported.content(), "event {id}");
    }
    for (index, event) in exported.iter().enumerate() {
        let before = exported
            .iter()
            .take(index)
            .filter(|other| other.stream == event.stream)
            .count();
        assert_eq!(event.sequence, Some(before as u64));
    }
}

/// Writes `text` into a file `name` of `directory`; its path as text.
pub(crate) fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
