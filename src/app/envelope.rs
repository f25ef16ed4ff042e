//! The body of a record: what of an event is not a tag (docs/RECORDS.md, section 2).
//!
//! Pure: bytes to values and back.

use std::num::NonZero;

use super::event::Uid;
use super::publish::Fingerprint;

const VERSION: u8 = 1;

const TIME: u16 = 1 << 0;
const UID_TEXT: u16 = 1 << 1;
const CONTENT_TYPE: u16 = 1 << 2;
const METADATA: u16 = 1 << 3;
const LINE_BREAKS: u16 = 1 << 4;
const REQUEST_KEY: u16 = 1 << 5;
const EVENT_KEY: u16 = 1 << 6;
const HOPS: u16 = 1 << 7;
const KNOWN: u16 =
    TIME | UID_TEXT | CONTENT_TYPE | METADATA | LINE_BREAKS | REQUEST_KEY | EVENT_KEY | HOPS;

/// What a record's body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) time_us: Option<i64>,
    pub(super) uid: Uid<'a>,
    /// Of a payload that is not JSON.
    pub(super) content_type: Option<&'a str>,
    /// Whether JSON in `data` or `metadata` has raw line breaks.
    pub(super) line_breaks: bool,
    pub(super) request: Option<RequestMark>,
    pub(super) key: Option<Fingerprint>,
    /// How many calls led to the event, if any did.
    pub(super) hops: Option<NonZero<u8>>,
    pub(super) metadata: Option<&'a [u8]>,
    pub(super) data: &'a [u8],
}

/// What is kept of a request with an idempotency key, on the first event stored for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestMark {
    pub(super) fingerprint: Fingerprint,
    /// How many events were stored for the request: this one and those right after it.
    pub(super) stored: u32,
}

impl<'a> Envelope<'a> {
    /// Appends all of the body that comes before `metadata` and `data`.
    ///
    /// Lengths are the caller's to check: texts of up to 255 bytes, metadata of up to 4 GiB.
    pub(super) fn push_head(&self, head: &mut Vec<u8>) {
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        let flags = flag(self.time_us.is_some(), TIME)
            | flag(matches!(self.uid, Uid::Text(_)), UID_TEXT)
            | flag(self.content_type.is_some(), CONTENT_TYPE)
            | flag(self.metadata.is_some(), METADATA)
            | flag(self.line_breaks, LINE_BREAKS)
            | flag(self.request.is_some(), REQUEST_KEY)
            | flag(self.key.is_some(), EVENT_KEY)
            | flag(self.hops.is_some(), HOPS);
        head.push(VERSION);
        head.extend_from_slice(&flags.to_le_bytes());
        if let Some(time_us) = self.time_us {
            head.extend_from_slice(&time_us.to_le_bytes());
        }
        match self.uid {
            Uid::Uuid(uuid) => head.extend_from_slice(&uuid),
            Uid::Text(text) => push_text(head, text),
        }
        if let Some(content_type) = self.content_type {
            push_text(head, content_type);
        }
        if let Some(request) = self.request {
            head.extend_from_slice(&request.fingerprint.0);
            head.extend_from_slice(&request.stored.to_le_bytes());
        }
        if let Some(key) = self.key {
            head.extend_from_slice(&key.0);
        }
        if let Some(hops) = self.hops {
            head.push(hops.get());
        }
        if let Some(metadata) = self.metadata {
            let len = u32::try_from(metadata.len()).expect("metadata is far shorter than 4 GiB");
            head.extend_from_slice(&len.to_le_bytes());
        }
    }

    /// Reads a body, or says what is wrong with it.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, &'static str> {
        let mut rest = Rest(body);
        let version = rest.array::<1>()?;
        if version != [VERSION] {
            return Err("its body is of a version this program does not know");
        }
        let flags = u16::from_le_bytes(rest.array()?);
        if flags & !KNOWN != 0 {
            return Err("its body has flags this program does not know");
        }
        let has = |flag: u16| flags & flag != 0;
        Ok(Self {
            time_us: has(TIME)
                .then(|| rest.array().map(i64::from_le_bytes))
                .transpose()?,
            uid: if has(UID_TEXT) {
                Uid::Text(rest.text()?)
            } else {
                Uid::Uuid(rest.array()?)
            },
            content_type: has(CONTENT_TYPE).then(|| rest.text()).transpose()?,
            line_breaks: has(LINE_BREAKS),
            request: has(REQUEST_KEY)
                .then(|| {
                    Ok::<_, &'static str>(RequestMark {
                        fingerprint: Fingerprint(rest.array()?),
                        stored: u32::from_le_bytes(rest.array()?),
                    })
                })
                .transpose()?,
            key: has(EVENT_KEY)
                .then(|| rest.array().map(Fingerprint))
                .transpose()?,
            hops: has(HOPS)
                .then(|| {
                    let [hops] = rest.array()?;
                    NonZero::new(hops).ok_or("it has come through no calls, and counts them")
                })
                .transpose()?,
            metadata: has(METADATA)
                .then(|| {
                    let len = u32::from_le_bytes(rest.array()?);
                    rest.take(usize::try_from(len).unwrap_or(usize::MAX))
                })
                .transpose()?,
            data: rest.0,
        })
    }
}

fn push_text(head: &mut Vec<u8>, text: &str) {
    head.push(u8::try_from(text.len()).expect("names are at most 255 bytes long"));
    head.extend_from_slice(text.as_bytes());
}

/// Whether there is a raw line break in the bytes.
///
/// Without an early end inside a block the compiler looks at many bytes at once.
pub(super) fn has_line_break(bytes: &[u8]) -> bool {
    bytes.chunks(128).any(|block| {
        block.iter().fold(false, |found, byte| {
            found | (*byte == b'\n') | (*byte == b'\r')
        })
    })
}

/// What has not been read yet of bytes that nobody vouches for.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or("its body is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or("its body is cut short")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self) -> Result<&'a str, &'static str> {
        let [len] = self.array()?;
        std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| "a text in it is not UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(envelope: &Envelope<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        envelope.push_head(&mut body);
        body.extend_from_slice(envelope.metadata.unwrap_or_default());
        body.extend_from_slice(envelope.data);
        body
    }

    fn plain(data: &[u8]) -> Envelope<'_> {
        Envelope {
            time_us: None,
            uid: Uid::Uuid([7; 16]),
            content_type: None,
            line_breaks: false,
            request: None,
            key: None,
            hops: None,
            metadata: None,
            data,
        }
    }

    #[test]
    fn the_example_of_the_records_page_is_what_is_written() {
        let body = encoded(&Envelope {
            time_us: Some(1),
            uid: Uid::Text("a-1"),
            metadata: Some(b"{}"),
            ..plain(b"true")
        });
        assert_eq!(
            body,
            b"\x01\x0b\x00\x01\0\0\0\0\0\0\0\x03a-1\x02\0\0\0{}true"
        );
    }

    #[test]
    fn a_body_cut_anywhere_in_its_head_is_refused() {
        let whole = encoded(&Envelope {
            time_us: Some(-1),
            uid: Uid::Text("é"),
            content_type: Some("text/plain"),
            line_breaks: true,
            request: Some(RequestMark {
                fingerprint: Fingerprint([1; 16]),
                stored: 2,
            }),
            key: Some(Fingerprint([3; 16])),
            hops: NonZero::new(16),
            metadata: Some(b"{}"),
            data: b"",
        });
        for len in 0..whole.len() {
            assert!(Envelope::decode(&whole[..len]).is_err(), "{len}");
        }
        assert!(Envelope::decode(&whole).is_ok());
    }

    #[test]
    fn an_unknown_version_or_flag_is_refused() {
        let mut body = encoded(&plain(b"1"));
        body[0] = 2;
        assert!(Envelope::decode(&body).is_err());
        body[0] = 1;
        body[2] = 0x80;
        assert!(Envelope::decode(&body).is_err());
    }

    #[test]
    fn a_count_of_calls_is_never_zero() {
        let mut body = encoded(&Envelope {
            hops: NonZero::new(1),
            ..plain(b"1")
        });
        let at = body.len() - 2;
        assert_eq!(body[at], 1);
        body[at] = 0;
        assert!(Envelope::decode(&body).is_err());
    }

    #[test]
    fn a_line_break_is_found_wherever_it_is() {
        assert!(!has_line_break(&[b' '; 500]));
        for at in [0, 127, 128, 499] {
            for line_break in [b'\n', b'\r'] {
                let mut bytes = [b' '; 500];
                bytes[at] = line_break;
                assert!(has_line_break(&bytes), "{at}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            time_us: Option<i64>,
            uuid: [u8; 16],
            text in proptest::option::of("\\PC{1,60}"),
            content_type in proptest::option::of("[ -~]{1,255}"),
            line_breaks: bool,
            request: Option<([u8; 16], u32)>,
            key: Option<[u8; 16]>,
            hops: u8,
            metadata: Option<Vec<u8>>,
            data: Vec<u8>,
        ) {
            let envelope = Envelope {
                time_us,
                uid: text.as_deref().map_or(Uid::Uuid(uuid), Uid::Text),
                content_type: content_type.as_deref(),
                line_breaks,
                request: request.map(|(fingerprint, stored)| RequestMark {
                    fingerprint: Fingerprint(fingerprint),
                    stored,
                }),
                key: key.map(Fingerprint),
                hops: NonZero::new(hops),
                metadata: metadata.as_deref(),
                data: &data,
            };
            let body = encoded(&envelope);
            prop_assert_eq!(Envelope::decode(&body), Ok(envelope));
        }

        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            if let Ok(envelope) = Envelope::decode(&bytes) {
                prop_assert_eq!(encoded(&envelope), bytes);
            }
        }
    }
}
