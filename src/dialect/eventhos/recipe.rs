//! From an action and an occurrence to the request that is sent (spec section 4).

use bytes::Bytes;

use crate::app::Data;
use crate::http::hops::HOPS;
use crate::http::{HeaderName, HeaderValue, Method, header, path};
use crate::json::write;
use crate::webhook::client::Endpoint;

use super::event::{Metadata, body_json};
use super::registry::Action;
use super::template::{Body, Document, Text, Url};

/// Says when the request was begun.
const START_DATE: HeaderName = HeaderName::from_static("eventhosstartdate");
/// The most headers, and the most query parameters, of an action.
const PAIRS_MAX: usize = 64;
/// Headers that belong to the connection, and to us.
const RESERVED: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
    START_DATE,
    HOPS,
];
const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// An action, read.
pub(super) struct Recipe {
    method: Method,
    url: Url,
    headers: Vec<(HeaderName, Text)>,
    query: Vec<(String, Text)>,
    body: Body,
    oauth: Option<OauthRecipe>,
}

/// How the token of an action is asked for.
struct OauthRecipe {
    endpoint: Endpoint,
    form: String,
}

/// A request that can be sent.
pub(super) struct Prepared {
    pub(super) endpoint: Endpoint,
    pub(super) method: Method,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    /// The URL before query parameters were added.
    pub(super) url: String,
    /// Those parameters.
    pub(super) params: Vec<(String, String)>,
}

/// What came of asking for a token.
pub(super) struct OauthResponse {
    /// A JSON object.
    pub(super) headers: String,
    /// JSON.
    pub(super) body: String,
}

impl Recipe {
    /// Reads an action.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(super) fn of(action: &Action) -> Result<Self, String> {
        let method = action.method.to_ascii_uppercase();
        let method = METHODS.into_iter().find(|known| known.as_str() == method);
        let method = method
            .ok_or("the method is none of GET, HEAD, POST, PUT, PATCH and DELETE".to_owned())?;
        let url =
            Url::parse(&action.url).map_err(|what| format!("the URL cannot be used: {what}"))?;
        parse_endpoint(&url.sample())?;
        if action.headers.len() > PAIRS_MAX || action.query.len() > PAIRS_MAX {
            return Err(format!(
                "there are more than {PAIRS_MAX} headers or query parameters"
            ));
        }
        let headers = action.headers.iter().map(|(name, value)| {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{name:?} is no name of a header"))?;
            if RESERVED.contains(&parsed) {
                return Err(format!("the header {name:?} is set by the server"));
            }
            let value = Text::parse(value)?;
            if !value.has_templates() {
                header_value(name, &value.expand(None).unwrap_or_default())?;
            }
            Ok((parsed, value))
        });
        let query = action
            .query
            .iter()
            .map(|(name, value)| Ok((name.clone(), Text::parse(value)?)));
        let oauth = action.oauth.as_ref().map(|oauth| {
            let endpoint = parse_endpoint(&oauth.url)?;
            let form = format!(
                "client_id={}&client_secret={}&grant_type=client_credentials&response_type=token",
                path::encode(&oauth.client_id),
                path::encode(&oauth.client_secret)
            );
            Ok::<_, String>(OauthRecipe { endpoint, form })
        });
        Ok(Self {
            method,
            headers: headers.collect::<Result<_, String>>()?,
            query: query.collect::<Result<_, String>>()?,
            body: Body::parse(action.body.as_ref().map(|body| body.get()))?,
            oauth: oauth.transpose()?,
            url,
        })
    }

    /// Where it leads, as far as that can be told without an occurrence: first the action, then who
    /// hands out its token.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let action = Endpoint::parse(&self.url.sample()).ok();
        let oauth = self.oauth.as_ref().map(|oauth| oauth.endpoint.clone());
        action.into_iter().chain(oauth).collect()
    }

    /// The request for a token, if one is needed first.
    pub(super) fn oauth(&self, start_date: &str) -> Option<Prepared> {
        let oauth = self.oauth.as_ref()?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = vec![(header::CONTENT_TYPE, form)];
        push_start_date(&mut headers, start_date);
        Some(Prepared {
            endpoint: oauth.endpoint.clone(),
            method: Method::POST,
            headers,
            body: Bytes::from(oauth.form.clone()),
            url: oauth.endpoint.as_str().to_owned(),
            params: Vec::new(),
        })
    }

    fn has_templates(&self) -> bool {
        self.url.has_templates()
            || self.body.has_templates()
            || self.headers.iter().any(|(_, value)| value.has_templates())
            || self.query.iter().any(|(_, value)| value.has_templates())
    }

    /// The request for an occurrence.
    ///
    /// # Errors
    ///
    /// In words: a template gives something that cannot stand where it stands.
    pub(super) fn prepare(
        &self,
        metadata: &Metadata<'_>,
        data: &Data<'_>,
        oauth: Option<&OauthResponse>,
        start_date: &str,
    ) -> Result<Prepared, String> {
        let document = if self.has_templates() {
            Some(document(metadata, data, oauth)?)
        } else {
            None
        };
        let document = document.as_ref();
        let url = self.url.expand(document)?;
        let mut params = Vec::new();
        for (name, value) in &self.query {
            if let Some(value) = value.expand(document) {
                params.push((name.clone(), value));
            }
        }
        let mut target = url.clone();
        for (name, value) in &params {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(&format!("{}={}", path::encode(name), path::encode(value)));
        }
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            if let Some(value) = value.expand(document) {
                headers.push((name.clone(), header_value(name.as_str(), &value)?));
            }
        }
        let (body, content_type) = self.body(data, document);
        if let Some(content_type) = content_type
            && !headers
                .iter()
                .any(|(name, _)| *name == header::CONTENT_TYPE)
        {
            headers.push((header::CONTENT_TYPE, content_type));
        }
        push_start_date(&mut headers, start_date);
        Ok(Prepared {
            endpoint: parse_endpoint(&target)?,
            method: self.method.clone(),
            headers,
            body,
            url,
            params,
        })
    }

    fn body(&self, data: &Data<'_>, document: Option<&Document>) -> (Bytes, Option<HeaderValue>) {
        let json = HeaderValue::from_static("application/json");
        match &self.body {
            Body::Own(node) => {
                let mut out = Vec::new();
                if !node.write(&mut out, document) {
                    out.extend_from_slice(b"null");
                }
                (Bytes::from(out), Some(json))
            }
            // What only reads is not given a body that nobody asked for.
            Body::Received if [Method::GET, Method::HEAD].contains(&self.method) => {
                (Bytes::new(), None)
            }
            Body::Received => match data {
                Data::Json(bytes) => (Bytes::copy_from_slice(bytes), Some(json)),
                Data::Bytes {
                    content_type,
                    bytes,
                } => (
                    Bytes::copy_from_slice(bytes),
                    HeaderValue::from_str(content_type).ok(),
                ),
            },
        }
    }
}

fn push_start_date(headers: &mut Vec<(HeaderName, HeaderValue)>, start_date: &str) {
    if let Ok(value) = HeaderValue::from_str(start_date) {
        headers.push((START_DATE, value));
    }
}

fn parse_endpoint(url: &str) -> Result<Endpoint, String> {
    Endpoint::parse(url).map_err(|error| format!("the URL cannot be called: {error}"))
}

/// A value that came out of a template: with anything that could end the header, there is no call.
fn header_value(name: &str, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| format!("the value for the header {name:?} has a control character"))
}

/// What templates look into.
fn document(
    metadata: &Metadata<'_>,
    data: &Data<'_>,
    oauth: Option<&OauthResponse>,
) -> Result<Document, String> {
    let body = body_json(data);
    let mut text = Vec::with_capacity(body.len() + 1_024);
    text.extend_from_slice(b"{\"headers\":");
    text.extend_from_slice(metadata.headers.get().as_bytes());
    text.extend_from_slice(b",\"query\":");
    text.extend_from_slice(metadata.query.get().as_bytes());
    text.extend_from_slice(b",\"body\":");
    text.extend_from_slice(body.as_bytes());
    text.extend_from_slice(b",\"url\":");
    write::string(&mut text, &metadata.url);
    text.extend_from_slice(b",\"oauthResponse\":");
    match oauth {
        Some(oauth) => {
            text.extend_from_slice(b"{\"headers\":");
            text.extend_from_slice(oauth.headers.as_bytes());
            text.extend_from_slice(b",\"body\":");
            text.extend_from_slice(oauth.body.as_bytes());
            text.push(b'}');
        }
        None => text.extend_from_slice(b"{}"),
    }
    text.push(b'}');
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    Document::parse(text)
        .map_err(|error| format!("the templates cannot look into the occurrence: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(change: impl FnOnce(&mut Action)) -> Action {
        let mut action = Action {
            system: None,
            name: String::new(),
            operation: String::new(),
            description: String::new(),
            url: "http://h/a".to_owned(),
            method: "post".to_owned(),
            headers: Vec::new(),
            query: Vec::new(),
            body: None,
            reply_to: None,
            oauth: None,
        };
        change(&mut action);
        action
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn prepare(action: &Action, json: &str) -> Result<Prepared, String> {
        let recipe = Recipe::of(action).unwrap();
        let data = Data::Json(json.as_bytes());
        recipe.prepare(&Metadata::empty(), &data, None, "2024")
    }

    #[test]
    fn what_was_received_is_sent_as_it_came() {
        let json = r#"{"b":9007199254740993,"a":[1e-7, {}]}"#;
        let prepared = prepare(&action(|_| {}), json).unwrap();
        assert_eq!(prepared.body, json.as_bytes());
        assert_eq!(prepared.method, Method::POST);
        let shown: Vec<_> = prepared
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                ("content-type", "application/json"),
                ("eventhosstartdate", "2024")
            ]
        );
        let get = action(|action| action.method = "GET".to_owned());
        assert!(prepare(&get, json).unwrap().body.is_empty());
        let bytes = Data::Bytes {
            content_type: "text/plain",
            bytes: b"x",
        };
        let recipe = Recipe::of(&action(|_| {})).unwrap();
        let prepared = recipe.prepare(&Metadata::empty(), &bytes, None, "2024");
        let prepared = prepared.unwrap();
        assert_eq!(prepared.body, "x");
        assert_eq!(prepared.headers[0].1, "text/plain");
    }

    #[test]
    fn parameters_are_added_to_those_of_the_url() {
        let with = |url: &str| {
            action(|action| {
                action.url = url.to_owned();
                action.query = vec![pair("q", "${.body.q}"), pair("none", "${.body.none}")];
            })
        };
        let json = r#"{"q":"a b&c"}"#;
        let prepared = prepare(&with("http://h/a"), json).unwrap();
        assert_eq!(prepared.endpoint.as_str(), "http://h/a?q=a%20b%26c");
        assert_eq!(prepared.params, [pair("q", "a b&c")]);
        let prepared = prepare(&with("http://h/a?x=1"), json).unwrap();
        assert_eq!(prepared.endpoint.as_str(), "http://h/a?x=1&q=a%20b%26c");
    }

    #[test]
    fn a_value_cannot_end_a_header() {
        let action = action(|action| action.headers = vec![pair("X-A", "a ${.body.x}")]);
        let prepared = prepare(&action, r#"{"x":"é"}"#).unwrap();
        assert_eq!(prepared.headers[0].1.as_bytes(), "a é".as_bytes());
        for bad in [
            r#"{"x":"\r\nX-Evil: 1"}"#,
            r#"{"x":"\n"}"#,
            r#"{"x":"\u0000"}"#,
        ] {
            let problem = prepare(&action, bad).err().unwrap();
            assert!(problem.contains("x-a"), "{problem}");
        }
    }

    #[test]
    fn a_token_is_asked_for_with_a_form() {
        let action = action(|action| {
            action.oauth = Some(super::super::registry::Oauth {
                url: "http://t/token".to_owned(),
                client_id: "a&b".to_owned(),
                client_secret: "s=1".to_owned(),
            });
            action.headers = vec![pair(
                "Authorization",
                "Bearer ${.oauthResponse.body.access_token}",
            )];
        });
        let recipe = Recipe::of(&action).unwrap();
        let token = recipe.oauth("2024").unwrap();
        assert_eq!(
            token.body,
            "client_id=a%26b&client_secret=s%3D1&grant_type=client_credentials&response_type=token"
        );
        let answer = OauthResponse {
            headers: "{}".to_owned(),
            body: r#"{"access_token":"t1"}"#.to_owned(),
        };
        let data = Data::Json(b"{}");
        let prepared = recipe.prepare(&Metadata::empty(), &data, Some(&answer), "2024");
        assert_eq!(prepared.unwrap().headers[0].1, "Bearer t1");
        assert_eq!(recipe.endpoints().len(), 2);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_in_words() {
        for (bad, word) in [
            (
                action(|action| action.method = "TRACE".to_owned()),
                "method",
            ),
            (action(|action| action.url = "ftp://h/".to_owned()), "URL"),
            (
                action(|action| action.url = "http://h/a b".to_owned()),
                "URL",
            ),
            (
                action(|action| action.url = "http://u:p@h/".to_owned()),
                "URL",
            ),
            (
                action(|action| action.url = "http://${.body.host}/".to_owned()),
                "host",
            ),
            (
                action(|action| action.headers = vec![pair("a b", "c")]),
                "name",
            ),
            (
                action(|action| action.headers = vec![pair("Host", "c")]),
                "server",
            ),
            (
                action(|action| action.headers = vec![pair("a", "b\n")]),
                "control",
            ),
            (
                action(|action| action.query = vec![pair("a", "${.[}")]),
                "template",
            ),
            (
                action(|action| action.headers = vec![pair("a", "b"); PAIRS_MAX + 1]),
                "more than",
            ),
        ] {
            let Err(problem) = Recipe::of(&bad) else {
                panic!("{word}")
            };
            assert!(problem.contains(word), "{problem}");
        }
    }

    #[test]
    fn an_occurrence_beyond_what_templates_can_hold_is_told() {
        let action = action(|action| action.query = vec![pair("q", "${.body.q}")]);
        let problem = prepare(&action, r#"{"q":1e999}"#).err().unwrap();
        assert!(problem.contains("templates"), "{problem}");
    }
}
