//! Templates: `${.path}` in the values of an action (spec section 4).
//!
//! A path is a JSONPath (RFC 9535) over `{headers, query, body, url, oauthResponse}`, without the
//! `$`. A name with other characters than RFC 9535 has in its short form, as `x-request-id`, may stand
//! bare, as upstream allows it. What is no template, as `${x}` or a brace that never closes, stays as
//! it is.
//!
//! Where a value is one template and nothing else, a body takes what is found with its type; if
//! nothing is found, the member, header or parameter is left out. Everywhere else the value becomes
//! text: a string its characters, anything else its JSON; nothing found is no text.

use std::borrow::Cow;

use serde_json_path::JsonPath;

use crate::json::write;

mod document;

pub(super) use document::{Document, Member, members};

/// The longest template, in bytes.
const PATH_LEN_MAX: usize = 1 << 10;

/// A template.
#[derive(Clone, Debug)]
pub(super) struct Path {
    text: String,
    query: JsonPath,
}

impl Path {
    /// Reads what stands between `${` and `}`.
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATH_LEN_MAX {
            return Err(format!("a template is longer than {PATH_LEN_MAX} bytes"));
        }
        // Each of them looks at everything below; two could look at everything for each.
        if text.matches("..").count() > 1 {
            return Err(format!("the template ${{{text}}} has '..' more than once"));
        }
        let query = JsonPath::parse(&format!("${text}"))
            .or_else(|_| JsonPath::parse(&format!("${}", with_brackets(text))))
            .map_err(|error| format!("the template ${{{text}}} is no JSONPath: {error}"))?;
        Ok(Self {
            text: text.to_owned(),
            query,
        })
    }

    /// What it finds, as JSON.
    pub(super) fn find<'d>(&self, document: &'d Document) -> Option<&'d str> {
        document.find(&self.query)
    }
}

/// The path with names that RFC 9535 does not write bare in brackets.
fn with_brackets(text: &str) -> String {
    let mut out = String::new();
    for segment in text.split('.').skip(1) {
        let (name, rest) = segment.split_at(segment.find('[').unwrap_or(segment.len()));
        if name.is_empty() {
            out.push_str("..");
        } else {
            let mut quoted = Vec::new();
            write::string(&mut quoted, name);
            out.push('[');
            out.push_str(&String::from_utf8_lossy(&quoted));
            out.push(']');
        }
        out.push_str(rest);
    }
    out
}

/// A piece of a text.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// Itself.
    Plain(String),
    /// What is found.
    Path(Path),
}

/// A text with templates in it.
#[derive(Clone, Debug)]
pub(super) struct Text(Vec<Piece>);

impl Text {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// What is wrong with a template, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${.") {
            let (before, from) = rest.split_at(start);
            let Some(end) = from.find('}') else { break };
            plain.push_str(before);
            if !plain.is_empty() {
                pieces.push(Piece::Plain(std::mem::take(&mut plain)));
            }
            let path = from.get(2..end).unwrap_or_default();
            pieces.push(Piece::Path(Path::parse(path)?));
            rest = from.get(end + 1..).unwrap_or_default();
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        Ok(Self(pieces))
    }

    /// Its pieces.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Whether there is a template in it.
    pub(super) fn has_templates(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Path(_)))
    }

    /// The template that it is, if it is nothing else.
    pub(super) fn exact(&self) -> Option<&Path> {
        match self.0.as_slice() {
            [Piece::Path(path)] => Some(path),
            _ => None,
        }
    }

    /// The text; none if it is one template, and that finds nothing.
    pub(super) fn expand(&self, document: Option<&Document>) -> Option<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => out.push_str(text),
                Piece::Path(path) => match document.and_then(|document| path.find(document)) {
                    Some(raw) => out.push_str(&as_text(raw)),
                    None if self.0.len() == 1 => return None,
                    None => {}
                },
            }
        }
        Some(out)
    }
}

/// A JSON value as text.
fn as_text(raw: &str) -> Cow<'_, str> {
    if raw.starts_with('"')
        && let Ok(text) = serde_json::from_str::<String>(raw)
    {
        return Cow::Owned(text);
    }
    Cow::Owned(document::compact(raw))
}

/// What stands in a URL between two slashes, or in its query: what is found is escaped there, so that
/// it can be neither a slash nor a further parameter.
#[derive(Clone, Debug)]
pub(super) struct Url {
    /// Scheme and authority.
    base: String,
    path: Text,
    query: Option<Text>,
}

impl Url {
    /// Reads a URL with templates in path and query.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words. That it is a URL at all is for whoever calls it to say.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let authority = url.find("://").map_or(0, |at| at + 3);
        let after = url.get(authority..).unwrap_or_default();
        let end = after
            .find(['/', '?', '#'])
            .map_or(url.len(), |at| authority + at);
        let (base, rest) = url.split_at(end);
        if base.contains("${") {
            return Err("there is a template in the host of the URL, where none may be".to_owned());
        }
        let (path, query) = match outside_templates(rest, '?') {
            Some(at) => {
                let (path, query) = rest.split_at(at);
                (path, query.get(1..))
            }
            None => (rest, None),
        };
        Ok(Self {
            base: base.to_owned(),
            path: Text::parse(path)?,
            query: query.map(Text::parse).transpose()?,
        })
    }

    /// Whether there is a template in it.
    pub(super) fn has_templates(&self) -> bool {
        self.path.has_templates() || self.query.as_ref().is_some_and(Text::has_templates)
    }

    /// The URL with `x` for every template: what can be judged before anything was sent.
    pub(super) fn sample(&self) -> String {
        let mut url = self.base.clone();
        let mut push = |text: &Text| {
            for piece in text.pieces() {
                url.push_str(match piece {
                    Piece::Plain(text) => text,
                    Piece::Path(_) => "x",
                });
            }
        };
        push(&self.path);
        if let Some(query) = &self.query {
            push(&Text(vec![Piece::Plain("?".to_owned())]));
            push(query);
        }
        url
    }

    /// The URL.
    ///
    /// # Errors
    ///
    /// In words: a template in the path gives no text, or makes a segment that leads elsewhere (`.`
    /// or `..`).
    pub(super) fn expand(&self, document: Option<&Document>) -> Result<String, String> {
        let mut url = self.base.clone();
        let mut path = String::new();
        for piece in self.path.pieces() {
            match piece {
                Piece::Plain(text) => path.push_str(text),
                Piece::Path(template) => {
                    let found = document
                        .and_then(|document| template.find(document))
                        .map(as_text)
                        .filter(|text| !text.is_empty());
                    let Some(text) = found else {
                        return Err(format!(
                            "the template ${{{}}} in the URL gives no text",
                            template.text
                        ));
                    };
                    path.push_str(&crate::http::path::encode(&text).to_string());
                }
            }
        }
        if self.path.has_templates() && path.split('/').any(|step| matches!(step, "." | "..")) {
            return Err("a template makes the URL lead out of its path".to_owned());
        }
        url.push_str(&path);
        if let Some(query) = &self.query {
            url.push('?');
            for piece in query.pieces() {
                match piece {
                    Piece::Plain(text) => url.push_str(text),
                    Piece::Path(template) => {
                        if let Some(raw) = document.and_then(|document| template.find(document)) {
                            let text = as_text(raw);
                            url.push_str(&crate::http::path::encode(&text).to_string());
                        }
                    }
                }
            }
        }
        Ok(url)
    }
}

/// Where a character stands for the first time outside of templates.
fn outside_templates(text: &str, wanted: char) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let found = rest.find(wanted)?;
        match rest.find("${.") {
            Some(start) if start < found => {
                let end = rest.get(start..)?.find('}')?;
                at += start + end + 1;
            }
            Some(_) | None => return Some(at + found),
        }
    }
}

/// The body of an action.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// What was received, as it came.
    Received,
    /// JSON of its own.
    Own(Node),
}

/// A value of a body.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// JSON as it stands.
    Raw(String),
    /// A text with templates.
    Text(Text),
    /// An object, the values of which may have templates.
    Object(Vec<(String, Self)>),
}

/// How deep objects of a template may be nested: as deep as bodies.
const DEPTH_MAX: usize = crate::app::limits::JSON_DEPTH_MAX;

impl Body {
    /// Reads the body of an action, which is JSON; one that is empty stands for the received one.
    ///
    /// # Errors
    ///
    /// What is wrong with a template, in words.
    pub(super) fn parse(json: Option<&str>) -> Result<Self, String> {
        let json = json.unwrap_or("{}").trim();
        let node = Node::parse(json, DEPTH_MAX)?;
        let empty = match &node {
            Node::Object(members) => members.is_empty(),
            Node::Raw(raw) => raw == "null" || document::compact(raw) == "[]",
            Node::Text(_) => false,
        };
        Ok(if empty {
            Self::Received
        } else {
            Self::Own(node)
        })
    }

    /// Whether there is a template in it.
    pub(super) fn has_templates(&self) -> bool {
        match self {
            Self::Received => false,
            Self::Own(node) => node.has_templates(),
        }
    }
}

impl Node {
    fn parse(json: &str, depth: usize) -> Result<Self, String> {
        if let Some(members) = members(json) {
            if depth == 0 {
                return Err("the body is nested too deeply".to_owned());
            }
            let nodes = members
                .into_iter()
                .map(|(name, value)| Ok((name.into_owned(), Self::parse(value.get(), depth - 1)?)));
            return Ok(Self::Object(nodes.collect::<Result<_, String>>()?));
        }
        if let Ok(text) = serde_json::from_str::<String>(json) {
            let text = Text::parse(&text)?;
            if text.has_templates() {
                return Ok(Self::Text(text));
            }
        }
        Ok(Self::Raw(json.to_owned()))
    }

    fn has_templates(&self) -> bool {
        match self {
            Self::Raw(_) => false,
            Self::Text(_) => true,
            Self::Object(members) => members.iter().any(|(_, node)| node.has_templates()),
        }
    }

    /// Writes the value; false, and nothing, if it is a template that finds nothing.
    pub(super) fn write(&self, out: &mut Vec<u8>, document: Option<&Document>) -> bool {
        match self {
            Self::Raw(raw) => out.extend_from_slice(raw.as_bytes()),
            Self::Text(text) => match text.exact() {
                Some(path) => match document.and_then(|document| path.find(document)) {
                    Some(raw) => out.extend_from_slice(raw.as_bytes()),
                    None => return false,
                },
                None => write::string(out, &text.expand(document).unwrap_or_default()),
            },
            Self::Object(members) => {
                out.push(b'{');
                let mut first = true;
                for (name, node) in members {
                    let start = out.len();
                    if !first {
                        out.push(b',');
                    }
                    write::string(out, name);
                    out.push(b':');
                    if node.write(out, document) {
                        first = false;
                    } else {
                        out.truncate(start);
                    }
                }
                out.push(b'}');
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
