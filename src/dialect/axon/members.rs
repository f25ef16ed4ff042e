//! Reading the members of a body: what each must be, and the fault if it is not.

use std::borrow::Cow;

use crate::json::{Fault, FaultKind, Reader};

/// The fault of a value that is not of the right kind.
pub(super) fn expected(mut reader: Reader<'_>, what: &str) -> Fault {
    let offset = reader.offset();
    // What is no JSON at all is told so first.
    if let Err(fault) = reader.value() {
        return fault;
    }
    Fault::new(FaultKind::Member, offset, format!("{what} was expected"))
}

/// Reads a string.
pub(super) fn string<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, Fault> {
    reader
        .string()?
        .ok_or_else(|| expected(reader.clone(), "a string"))
}

/// Reads a string by rules of its own, which `new` knows.
pub(super) fn checked<'a, T, E: ToString>(
    reader: &mut Reader<'a>,
    new: impl FnOnce(Cow<'a, str>) -> Result<T, E>,
) -> Result<T, Fault> {
    let offset = reader.offset();
    let text = string(reader)?;
    new(text).map_err(|error| Fault::new(FaultKind::Name, offset, error.to_string()))
}

/// Reads a whole number that is not negative.
pub(super) fn whole_number(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    reader
        .whole_number()?
        .ok_or_else(|| expected(reader.clone(), "a whole number from 0 to 2^63 - 1"))
}

/// Reads `true` or `false`.
pub(super) fn flag(reader: &mut Reader<'_>) -> Result<bool, Fault> {
    let before = reader.clone();
    match reader.value()? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(expected(before, "true or false")),
    }
}
