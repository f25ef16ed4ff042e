//! The tags with a prefix, in byte order, over all slots.

use std::collections::BTreeMap;

use super::slots::Held;
use super::{TagEnd, TagError, TagView};

/// See [`TagView::list`].
pub(crate) fn list(
    view: &TagView,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, TagEnd)>, TagError> {
    let mut found: BTreeMap<Vec<u8>, TagEnd> = BTreeMap::new();
    for slot in view.slots() {
        match &slot.held {
            Held::Memory(piece) => piece.visit(prefix, view.end(), |tag, end| {
                if after.is_none_or(|after| tag > after) && end.last_id >= view.first() {
                    found.insert(tag.to_vec(), end);
                }
            }),
            Held::Missing => return Err(TagError::Missing { span: slot.span }),
        }
    }
    Ok(found.into_iter().take(limit).collect())
}
