//! One request on its way through an endpoint.

use crate::http::Head;
use crate::http::router::Params;

use super::Door;
use super::form::Fields;
use super::guard::{self, Bearer};
use super::replies::{self, Refusal};

/// A request, and who sent it.
pub(super) struct Call<'a> {
    pub(super) door: &'a Door,
    pub(super) head: &'a Head,
    pub(super) query: Fields<'a>,
    pub(super) params: Params<'a, 'a>,
    pub(super) bearer: Option<Bearer>,
}

impl Call<'_> {
    /// Refuses whoever may not do `verb` with `resource`.
    pub(super) fn allow(&self, resource: &str, verb: &str) -> Result<(), Refusal> {
        let bearer = self.bearer.as_ref();
        self.door
            .directory
            .read(|registry| guard::allow(bearer, registry, resource, verb))
    }

    /// The id in the path; what is no id names nothing.
    pub(super) fn id(&self, what: &str) -> Result<u64, Refusal> {
        let raw = self.params.get("id").unwrap_or_default();
        let digits = !raw.is_empty() && raw.bytes().all(|byte| byte.is_ascii_digit());
        let id = if digits { raw.parse().ok() } else { None };
        id.ok_or_else(|| replies::not_found(what))
    }
}
