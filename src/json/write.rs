//! Writing JSON by hand into a buffer that is used again.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Writes bytes as standard base64, padded, without quotes.
pub fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let len = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start + len, 0);
    if let Some(place) = out.get_mut(start..) {
        let written = STANDARD.encode_slice(bytes, place);
        debug_assert_eq!(written, Ok(len), "the place is as long as the text");
    }
}

/// Writes a JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let plain = text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0..0x20 => {
                    let written = write!(out, "\\u{byte:04x}");
                    debug_assert!(written.is_ok(), "a vector takes every byte");
                }
                _ => out.push(byte),
            }
        }
    }
    out.push(b'"');
}

/// Writes a number in decimal digits.
pub fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut len = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        len += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - len..).unwrap_or(&digits));
}

/// Writes a number, or `null`.
pub fn maybe_number(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        Some(value) => number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes a string, or `null`.
pub fn maybe_string(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_read_back_as_they_were(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn numbers_are_written_in_decimal(value in any::<u64>()) {
            let mut out = Vec::new();
            number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn payloads_that_are_no_json_read_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut out = b"before".to_vec();
            base64(&mut out, &bytes);
            prop_assert_eq!(STANDARD.decode(&out[6..]).unwrap(), bytes);
        }
    }
}
