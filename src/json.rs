//! Reading JSON in one pass: every byte is checked, payloads stay as they were sent.
//!
//! What a publish carries is stored as text and never becomes a tree, so this reader hands out
//! slices. It checks in one pass what takes several with a general parser: the grammar, the depth,
//! and that escapes are no lone surrogates (which serde_json's raw values let through); it knows
//! where it is, so that an error can name the byte. That it accepts what serde_json does, and
//! nothing else, is a test.
//!
//! Of an object that the API defines (an event, a definition), members that it does not define and
//! members given twice are refused by name. Objects inside `data` and `metadata` are the
//! publisher's own: they must be JSON, and are not looked into.

use std::borrow::Cow;

use crate::app::limits::JSON_DEPTH_MAX;

pub mod write;

// The kinds of the open brackets are kept in the bits of one number.
const _: () = assert!(JSON_DEPTH_MAX <= 128);

/// The longest number, in bytes: no client can do anything with a longer one, and some take
/// quadratic time for it.
const NUMBER_LEN_MAX: usize = 1_024;

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind it is.
    pub kind: FaultKind,
    /// Where, in bytes from the start of the body.
    pub offset: usize,
    /// What is wrong, in words.
    pub what: Cow<'static, str>,
    /// Which event of a batch, from 0.
    pub index: Option<usize>,
    /// Which line, from 1, where lines matter.
    pub line: Option<usize>,
    /// The member concerned.
    pub member: Option<String>,
}

/// Kinds of faults, as far as programs tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Not JSON.
    Json,
    /// A member that is not defined.
    UnknownMember,
    /// A member whose value makes no sense, or that is missing.
    Member,
    /// A name that is none.
    Name,
    /// A part that is too long.
    TooLarge,
    /// Too many events.
    TooManyEvents,
    /// No events.
    NoEvents,
}

impl Fault {
    /// A fault at this place.
    pub fn new(kind: FaultKind, offset: usize, what: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            offset,
            what: what.into(),
            index: None,
            line: None,
            member: None,
        }
    }

    /// The same fault, of this member.
    #[must_use]
    pub fn of(mut self, member: &str) -> Self {
        self.member = Some(match self.member {
            Some(inner) => format!("{member}/{inner}"),
            None => member.to_owned(),
        });
        self
    }
}

/// The text of a body.
///
/// # Errors
///
/// A [`Fault`]: it is not UTF-8, or begins with a byte order mark.
pub fn text(body: &[u8]) -> Result<&str, Fault> {
    match simdutf8::compat::from_utf8(body) {
        Ok(text) if text.starts_with('\u{feff}') => Err(Fault::new(
            FaultKind::Json,
            0,
            "it begins with a byte order mark",
        )),
        Ok(text) => Ok(text),
        Err(error) => Err(Fault::new(
            FaultKind::Json,
            error.valid_up_to(),
            "it is not UTF-8",
        )),
    }
}

/// Reads a JSON text from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    base: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `text`, which begins `base` bytes from the start of the body.
    #[must_use]
    pub fn new(text: &'a str, base: usize) -> Self {
        Self { text, at: 0, base }
    }

    /// Where the next token begins, from the start of the body; white space before it is skipped.
    pub fn offset(&mut self) -> usize {
        self.skip_space();
        self.base + self.at
    }

    /// The first byte of the next token.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.byte()
    }

    /// Refuses anything but white space in the rest.
    ///
    /// # Errors
    ///
    /// A [`Fault`] at the first byte of the rest.
    pub fn finish(mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("there is more after the end of the value")),
        }
    }

    /// The text between this place and the one that `later`, which began as this reader's clone,
    /// has come to.
    #[must_use]
    pub fn until(&self, later: &Self) -> &'a str {
        self.text
            .get(self.at..later.at)
            .unwrap_or_default()
            .trim_start()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn wrong(&self, what: &'static str) -> Fault {
        let what = if self.at >= self.text.len() {
            "it ends too early"
        } else {
            what
        };
        Fault::new(FaultKind::Json, self.base + self.at, what)
    }

    /// The next value, whatever it is: checked, as it stands.
    ///
    /// # Errors
    ///
    /// A [`Fault`] at the first byte that cannot be right.
    pub fn value(&mut self) -> Result<&'a str, Fault> {
        self.value_within(JSON_DEPTH_MAX)
    }

    /// The same for a value inside of others that have been gone into one by one, and that count:
    /// so that the whole is nested no deeper than JSON may be, `depth_max` is what they leave.
    ///
    /// # Errors
    ///
    /// As for [`value`](Self::value).
    pub fn value_within(&mut self, depth_max: usize) -> Result<&'a str, Fault> {
        let depth_max = depth_max.min(JSON_DEPTH_MAX);
        self.skip_space();
        let start = self.at;
        // Bit 0 is the innermost open bracket: 1 for an object.
        let mut open = 0_u128;
        let mut depth = 0_usize;
        'value: loop {
            self.skip_space();
            match self.byte() {
                Some(b'"') => self.skip_string()?,
                Some(b'-' | b'0'..=b'9') => self.skip_number()?,
                Some(b't') => self.skip_word("true")?,
                Some(b'f') => self.skip_word("false")?,
                Some(b'n') => self.skip_word("null")?,
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == depth_max {
                        return Err(self.wrong("it is nested too deeply"));
                    }
                    let object = bracket == b'{';
                    self.at += 1;
                    self.skip_space();
                    let empty = self.byte() == Some(if object { b'}' } else { b']' });
                    if empty {
                        self.at += 1;
                    } else {
                        open = (open << 1) | u128::from(object);
                        depth += 1;
                        if object {
                            self.skip_key()?;
                        }
                        continue 'value;
                    }
                }
                _ => return Err(self.wrong("a value was expected here")),
            }
            loop {
                if depth == 0 {
                    return Ok(self.text.get(start..self.at).unwrap_or_default());
                }
                let object = open & 1 == 1;
                self.skip_space();
                match self.byte() {
                    Some(b',') => {
                        self.at += 1;
                        if object {
                            self.skip_space();
                            self.skip_key()?;
                        }
                        continue 'value;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ if object => return Err(self.wrong("a comma or '}' was expected here")),
                    _ => return Err(self.wrong("a comma or ']' was expected here")),
                }
                self.at += 1;
                open >>= 1;
                depth -= 1;
            }
        }
    }

    fn skip_key(&mut self) -> Result<(), Fault> {
        if self.byte() != Some(b'"') {
            return Err(self.wrong("a member's name in double quotes was expected here"));
        }
        self.skip_string()?;
        self.skip_colon()
    }

    fn skip_colon(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.byte() != Some(b':') {
            return Err(self.wrong("a colon was expected here"));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_word(&mut self, word: &str) -> Result<(), Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.wrong("a value was expected here"));
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wrong("a digit was expected here"));
        }
        Ok(())
    }

    fn skip_number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
            if self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.wrong("a number does not begin with a zero"));
            }
        } else {
            self.skip_digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        if self.at - start > NUMBER_LEN_MAX {
            self.at = start;
            return Err(self.wrong("the number is longer than 1,024 bytes"));
        }
        Ok(())
    }

    /// Skips a string, quotes included.
    fn skip_string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.at += plain_len(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.skip_escape()?,
                Some(0..0x20) => {
                    return Err(self.wrong("a control character in a string must be escaped"));
                }
                Some(_) => self.at += 1,
                None => return Err(self.wrong("")),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.skip_unit()?;
                if (0xDC00..0xE000).contains(&unit) {
                    self.at = start;
                    return Err(self.wrong("an escape stands for a lone surrogate"));
                }
                if (0xD800..0xDC00).contains(&unit) {
                    let low = self.text.as_bytes().get(self.at..).unwrap_or_default();
                    let paired = low.starts_with(b"\\u") && {
                        self.at += 1;
                        (0xDC00..0xE000).contains(&self.skip_unit()?)
                    };
                    if !paired {
                        self.at = start;
                        return Err(self.wrong("an escape stands for a lone surrogate"));
                    }
                }
                Ok(())
            }
            _ => Err(self.wrong("there is no such escape")),
        }
    }

    /// Skips `uXXXX`; its value.
    fn skip_unit(&mut self) -> Result<u32, Fault> {
        self.at += 1;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.wrong("an escape needs four hexadecimal digits"));
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    /// The next value as text; none if it is no string (and then nothing is read).
    ///
    /// # Errors
    ///
    /// A [`Fault`] if it is not JSON.
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, Fault> {
        if self.peek() != Some(b'"') {
            return Ok(None);
        }
        let start = self.at;
        self.skip_string()?;
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        if quoted.contains('\\') {
            // Checked above, so it cannot fail; but if it did, it is the client's fault.
            return match serde_json::from_str(quoted) {
                Ok(text) => Ok(Some(Cow::Owned(text))),
                Err(_) => Err(self.wrong("a string cannot be read")),
            };
        }
        let inner = quoted.get(1..quoted.len().saturating_sub(1));
        Ok(inner.map(Cow::Borrowed))
    }

    /// The next value as a whole number; none if it is no whole number that fits in 63 bits (and
    /// then nothing is read).
    ///
    /// # Errors
    ///
    /// A [`Fault`] if it is not JSON.
    pub fn whole_number(&mut self) -> Result<Option<u64>, Fault> {
        self.skip_space();
        let start = self.at;
        let number = crate::http::query::whole_number(self.value()?);
        if number.is_none() {
            self.at = start;
        }
        Ok(number)
    }

    /// Whether the next value is `null`, which is skipped.
    pub fn null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.skip_word("null").is_ok()
    }

    /// Goes into an object; none if the next value is no object.
    pub fn object(&mut self) -> Option<Object> {
        if self.peek() != Some(b'{') {
            return None;
        }
        self.at += 1;
        Some(Object {
            seen: 0,
            first: true,
        })
    }

    /// Goes into an array; none if the next value is no array.
    pub fn array(&mut self) -> Option<Array> {
        if self.peek() != Some(b'[') {
            return None;
        }
        self.at += 1;
        Some(Array { first: true })
    }
}

/// How many bytes at the front of `bytes` are neither quote, backslash nor control character: found
/// eight at a time, so it may stop a little early.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Has its high bit set where the byte is zero (and perhaps above a zero).
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut len = 0;
    for chunk in bytes.as_chunks::<8>().0 {
        let word = u64::from_ne_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        if control | quote | backslash != 0 {
            break;
        }
        len += 8;
    }
    len
}

/// An object that is being read.
#[derive(Debug)]
pub struct Object {
    seen: u32,
    first: bool,
}

impl Object {
    /// The next member, which must be one of `names` (at most 32) and not there twice; its value is
    /// read next. None at the object's end.
    ///
    /// # Errors
    ///
    /// A [`Fault`] that names the member.
    pub fn next(
        &mut self,
        reader: &mut Reader<'_>,
        names: &[&'static str],
    ) -> Result<Option<&'static str>, Fault> {
        let Some((name, offset)) = self.next_name(reader)? else {
            return Ok(None);
        };
        match self.known(&name, offset, names)? {
            Some(known) => Ok(Some(known)),
            None => Err(Fault::new(
                FaultKind::UnknownMember,
                offset,
                format!("there is no member '{}'", name.escape_debug()),
            )
            .of(&name)),
        }
    }

    /// The next member that is one of `names` (at most 32), each at most once; its value is read
    /// next. Others are checked and passed over. None at the object's end.
    ///
    /// # Errors
    ///
    /// A [`Fault`] that names the member.
    pub fn next_known(
        &mut self,
        reader: &mut Reader<'_>,
        names: &[&'static str],
    ) -> Result<Option<&'static str>, Fault> {
        while let Some((name, offset)) = self.next_name(reader)? {
            if let Some(known) = self.known(&name, offset, names)? {
                return Ok(Some(known));
            }
            reader.value()?;
        }
        Ok(None)
    }

    /// The next member, whatever its name, and also if it was there before; its value is read next.
    /// None at the object's end.
    ///
    /// # Errors
    ///
    /// A [`Fault`] if it is not JSON.
    pub fn next_any<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, Fault> {
        Ok(self.next_name(reader)?.map(|(name, _offset)| name))
    }

    /// The next member's name, and where it stands.
    fn next_name<'a>(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<Option<(Cow<'a, str>, usize)>, Fault> {
        match reader.peek() {
            Some(b'}') => {
                reader.at += 1;
                return Ok(None);
            }
            Some(b',') if !self.first => reader.at += 1,
            _ if self.first => {}
            _ => return Err(reader.wrong("a comma or '}' was expected here")),
        }
        self.first = false;
        let offset = reader.offset();
        let Some(name) = reader.string()? else {
            return Err(reader.wrong("a member's name in double quotes was expected here"));
        };
        reader.skip_colon()?;
        Ok(Some((name, offset)))
    }

    /// Which of `names` this is, if it is one; it must not have been there before.
    fn known(
        &mut self,
        name: &str,
        offset: usize,
        names: &[&'static str],
    ) -> Result<Option<&'static str>, Fault> {
        let Some(index) = names.iter().position(|known| *known == name) else {
            return Ok(None);
        };
        let bit = 1_u32
            .checked_shl(u32::try_from(index).unwrap_or(u32::MAX))
            .unwrap_or(0);
        if self.seen & bit != 0 {
            return Err(Fault::new(
                FaultKind::Json,
                offset,
                format!("the member '{name}' is there twice"),
            )
            .of(name));
        }
        self.seen |= bit;
        Ok(names.get(index).copied())
    }
}

/// An array that is being read.
#[derive(Debug)]
pub struct Array {
    first: bool,
}

impl Array {
    /// Whether there is another item, which is read next.
    ///
    /// # Errors
    ///
    /// A [`Fault`] if there is neither an item nor the end.
    pub fn next(&mut self, reader: &mut Reader<'_>) -> Result<bool, Fault> {
        match reader.peek() {
            Some(b']') => {
                reader.at += 1;
                return Ok(false);
            }
            Some(b',') if !self.first => {
                reader.at += 1;
                if reader.peek() == Some(b']') {
                    return Err(reader.wrong("a value was expected here"));
                }
            }
            _ if self.first => {}
            _ => return Err(reader.wrong("a comma or ']' was expected here")),
        }
        self.first = false;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
