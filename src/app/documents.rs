//! Documents: what the server is told to remember by name (webhooks, handlers, clients, contracts).
//!
//! A document has a kind, a name, and JSON that whoever keeps it understands. All of them are in
//! memory; each change is an event of the log `_system`, and durable before it is seen.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::App;
use super::failure::{Code, Failure};
use super::limits::{DOCUMENT_LEN_MAX, DOCUMENTS_MAX};

/// A change of a document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) kind: String,
    pub(super) name: String,
    /// None removes it.
    document: Option<Box<RawValue>>,
}

impl Change {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts can be written as JSON")
    }
}

/// All documents, by kind and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Documents(BTreeMap<String, BTreeMap<String, Bytes>>);

impl Documents {
    pub(super) fn apply(&mut self, change: Change) {
        match change.document {
            Some(document) => {
                let text: Box<str> = document.into();
                self.0
                    .entry(change.kind)
                    .or_default()
                    .insert(change.name, Bytes::from(String::from(text)));
            }
            None => {
                if let Some(names) = self.0.get_mut(&change.kind) {
                    names.remove(&change.name);
                }
            }
        }
    }

    fn get(&self, kind: &str, name: &str) -> Option<&Bytes> {
        self.0.get(kind)?.get(name)
    }

    fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

impl App {
    /// The documents of a kind, in byte order of their names.
    #[must_use]
    pub fn documents(&self, kind: &str) -> Vec<(String, Bytes)> {
        let documents = self.0.documents.read();
        let of_kind = documents.0.get(kind).into_iter().flatten();
        of_kind
            .map(|(name, document)| (name.clone(), document.clone()))
            .collect()
    }

    /// A document, if there is one of this kind and name.
    #[must_use]
    pub fn document(&self, kind: &str, name: &str) -> Option<Bytes> {
        self.0.documents.read().get(kind, name).cloned()
    }

    /// Puts a document in place, durably; the flag says whether there was none before. Of two
    /// changes of one document the one that resolves later is in force. A change that was begun is
    /// made to its end, even if nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the JSON is none or too long, kind or name have a control character, there are
    /// too many documents, or `_system` takes no writes.
    pub async fn put_document(&self, kind: &str, name: &str, json: &[u8]) -> Result<bool, Failure> {
        if json.len() > DOCUMENT_LEN_MAX {
            return Err(Failure::new(
                Code::TooLarge,
                format!(
                    "the definition has {} bytes, more than {DOCUMENT_LEN_MAX}; nothing was changed",
                    json.len()
                ),
            ));
        }
        let document = serde_json::from_slice(json)
            .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.configure(|app| async move {
            let is_new = app.document(&kind, &name).is_none();
            if is_new && app.0.documents.read().len() >= DOCUMENTS_MAX {
                return Err(Failure::new(
                    Code::TooManyDefinitions,
                    format!("there are {DOCUMENTS_MAX} definitions already; nothing was changed"),
                ));
            }
            let document = Some(document);
            app.change(Change {
                kind,
                name,
                document,
            })
            .await?;
            Ok(is_new)
        })
        .await
    }

    /// Removes a document, durably; the flag says whether there was one. Goes on to its end like
    /// [`put_document`](Self::put_document).
    ///
    /// # Errors
    ///
    /// [`Failure`]: `_system` takes no writes.
    pub async fn remove_document(&self, kind: &str, name: &str) -> Result<bool, Failure> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.configure(|app| async move {
            if app.document(&kind, &name).is_none() {
                return Ok(false);
            }
            app.change(Change {
                kind,
                name,
                document: None,
            })
            .await?;
            Ok(true)
        })
        .await
    }

    async fn change(&self, change: Change) -> Result<(), Failure> {
        self.keep_change(&change).await?;
        self.0.documents.write().apply(change);
        Ok(())
    }
}
