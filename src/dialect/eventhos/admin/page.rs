//! Pages of lists: `itemsPerPage` (5), `pageIndex` (from 0), `order` (`asc`), `activeSort` (`id`).
//!
//! As upstream, a number that makes no sense counts as not given.

use serde::Serialize;

use crate::http::Reply;

use super::super::form::Fields;
use super::super::registry::{Definition, Entity};
use super::super::replies::{self, Refusal};
use super::shown;

/// How many items a page has if the request does not say.
const ITEMS_DEFAULT: usize = 5;
/// The most items a page has; a higher wish is capped, and `itemsPerPage` of the reply says so.
const ITEMS_MAX: usize = 1_000;

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) items: usize,
    pub(crate) index: usize,
    pub(crate) descending: bool,
}

/// A page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content<T> {
    items: Vec<T>,
    page_index: usize,
    items_per_page: usize,
    total_items: usize,
    total_pages: usize,
}

impl Page {
    /// The page that a query asks for.
    pub(crate) fn of(query: &Fields<'_>) -> Self {
        let number = |name| query.one(name).and_then(|text| text.parse::<usize>().ok());
        Self {
            items: number("itemsPerPage")
                .filter(|items| *items > 0)
                .unwrap_or(ITEMS_DEFAULT)
                .min(ITEMS_MAX),
            index: number("pageIndex").unwrap_or(0),
            descending: query.one("order") == Some("desc"),
        }
    }

    /// How many items come before the page.
    pub(crate) fn offset(&self) -> usize {
        self.items.saturating_mul(self.index)
    }

    /// The page, given its items and how many there are in all.
    pub(crate) fn content<T>(self, items: Vec<T>, total_items: usize) -> Content<T> {
        Content {
            items,
            page_index: self.index,
            items_per_page: self.items,
            total_items,
            total_pages: total_items.div_ceil(self.items),
        }
    }

    /// The reply with the page of these entities, which come by id, in the order that the query asks
    /// for.
    pub(crate) fn cut_shown<'e, D: Definition, T: Serialize>(
        self,
        query: &Fields<'_>,
        mut entities: Vec<&'e Entity<D>>,
        item: impl Fn(&'e Entity<D>) -> T,
    ) -> Result<Reply, Refusal> {
        match query.one("activeSort") {
            None | Some("id") => {}
            Some("identifier") => entities.sort_by(|a, b| a.identifier.cmp(&b.identifier)),
            Some("name") => {
                entities.sort_by(|a, b| a.definition.title().cmp(b.definition.title()));
            }
            Some("created_at") => entities.sort_by_key(|entity| entity.created_at_us),
            Some("updated_at") => entities.sort_by_key(|entity| entity.updated_at_us),
            Some(_) => {
                return Err(replies::invalid(
                    "activeSort is none of id, identifier, name, created_at and updated_at",
                ));
            }
        }
        if self.descending {
            entities.reverse();
        }
        let total = entities.len();
        let cut = entities.into_iter().skip(self.offset()).take(self.items);
        Ok(shown(&self.content(cut.map(item).collect(), total)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_make_no_sense_count_as_not_given() {
        let page = |query| Page::of(&Fields::parse(query).unwrap());
        let first = Page {
            items: 5,
            index: 0,
            descending: false,
        };
        for query in [
            "",
            "itemsPerPage=0&pageIndex=-1&order=up",
            "itemsPerPage=x&pageIndex=&order=DESC",
        ] {
            assert_eq!(page(query), first, "{query}");
        }
        let other = page("itemsPerPage=9999999&pageIndex=18446744073709551615&order=desc");
        assert_eq!((other.items, other.descending), (ITEMS_MAX, true));
        assert_eq!(other.offset(), usize::MAX);
        let content = first.content(vec![1], 11);
        assert_eq!(content.total_pages, 3);
    }
}
