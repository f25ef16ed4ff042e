//! HTTP Basic (RFC 7617): what a request says, and whether it is right.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq as _};

use crate::http::{HeaderMap, header};

use super::secret::{self, Domain, TAG_LEN};

/// The request has an `Authorization`, and it is not Basic: another scheme, no valid base64 (RFC
/// 4648 with padding), no colon, a user name that is not UTF-8, or more than one header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBasic;

impl fmt::Display for NotBasic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Authorization header is not of the form 'Basic base64(user:password)'")
    }
}

impl std::error::Error for NotBasic {}

/// User and password of a request; none if it has no `Authorization`.
///
/// The password may have colons and any bytes; the user has no colon. Both may be empty.
///
/// # Errors
///
/// [`NotBasic`].
pub fn credentials(headers: &HeaderMap) -> Result<Option<(String, Vec<u8>)>, NotBasic> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    // Of two, a proxy in front may have judged the other one.
    if given.next().is_some() {
        return Err(NotBasic);
    }
    let text = value.to_str().map_err(|_| NotBasic)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(NotBasic)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(NotBasic);
    }
    let mut user = STANDARD
        .decode(encoded.trim_matches(' '))
        .map_err(|_| NotBasic)?;
    let colon = user.iter().position(|byte| *byte == b':').ok_or(NotBasic)?;
    let password = user.split_off(colon + 1);
    user.truncate(colon);
    let user = String::from_utf8(user).map_err(|_| NotBasic)?;
    Ok(Some((user, password)))
}

/// The users of a server, with their passwords.
///
/// Neither names nor passwords are kept, only keyed hashes under a key of this process. So the time
/// of [`verify`](Self::verify) depends on the lengths of what is presented, and on nothing else.
#[derive(Clone)]
pub struct Users {
    passwords: HashMap<[u8; TAG_LEN], [u8; TAG_LEN]>,
    /// What the password of an unknown user is compared with.
    nobody: [u8; TAG_LEN],
}

impl Users {
    /// The users by name, with their passwords.
    #[must_use]
    pub fn new(users: BTreeMap<String, String>) -> Self {
        let passwords = users
            .into_iter()
            .map(|(user, password)| (user_tag(&user), password_tag(password.as_bytes())))
            .collect();
        let mut nobody = [0; TAG_LEN];
        secret::fill_random(&mut nobody);
        Self { passwords, nobody }
    }

    /// Whether there is such a user with that password.
    #[must_use]
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        let kept = self.passwords.get(&user_tag(user));
        let known = Choice::from(u8::from(kept.is_some()));
        let equal = kept.unwrap_or(&self.nobody).ct_eq(&password_tag(password));
        (known & equal).into()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("count", &self.passwords.len())
            .finish_non_exhaustive()
    }
}

fn user_tag(user: &str) -> [u8; TAG_LEN] {
    secret::tag(Domain::User, user.as_bytes())
}

fn password_tag(password: &[u8]) -> [u8; TAG_LEN] {
    secret::tag(Domain::Password, password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    fn parse(values: &[&[u8]]) -> Result<Option<(String, Vec<u8>)>, NotBasic> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::AUTHORIZATION,
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        credentials(&headers)
    }

    fn basic(bytes: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(bytes))
    }

    #[test]
    fn user_and_password_are_what_stands_before_and_behind_the_first_colon() {
        for (bytes, user, password) in [
            (&b"Aladdin:open sesame"[..], "Aladdin", &b"open sesame"[..]),
            (b"a:b:c", "a", b"b:c"),
            (b":", "", b""),
            (b"user:", "user", b""),
            (b":password", "", b"password"),
            (
                "j\u{fc}rgen:\u{1f511}".as_bytes(),
                "j\u{fc}rgen",
                "\u{1f511}".as_bytes(),
            ),
            (b"a:\xff\x00", "a", b"\xff\x00"),
        ] {
            let expected = Ok(Some((user.to_owned(), password.to_vec())));
            assert_eq!(parse(&[basic(bytes).as_bytes()]), expected);
        }
        // The scheme has no case, and spaces before the rest may be several.
        for value in ["bAsIc YTpi", "BASIC   YTpi", "Basic YTpi "] {
            let expected = Ok(Some(("a".to_owned(), b"b".to_vec())));
            assert_eq!(parse(&[value.as_bytes()]), expected, "{value}");
        }
        assert_eq!(parse(&[]), Ok(None));
    }

    #[test]
    fn whatever_else_stands_there_is_not_basic() {
        for value in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"BasicYTpi",
            b"Basic\tYTpi",
            b"Bearer YTpi",
            b"YTpi",
            b"a:b",
            b"Basic a:b",
            b"Basic YTpi YTpi",
            b"Basic YTp",
            b"Basic YTpiYw",
            b"Basic YTpiYx==",
            b"Basic YTp-",
            b"Basic YQ==",
            b"Basic /zph",
            b"Basic YTpi\xff",
        ] {
            assert_eq!(parse(&[value]), Err(NotBasic), "{value:?}");
        }
        assert_eq!(parse(&[b"Basic YTpi", b"Basic YTpi"]), Err(NotBasic));
        assert_eq!(parse(&[b"Basic YTpi", b"Bearer x"]), Err(NotBasic));
    }

    fn users(pairs: &[(&str, &str)]) -> Users {
        let owned = |text: &&str| (*text).to_owned();
        Users::new(pairs.iter().map(|(a, b)| (owned(a), owned(b))).collect())
    }

    #[test]
    fn only_the_users_own_password_is_right() {
        let users = users(&[("ada", "secret"), ("bob", ""), ("", "nameless")]);
        for (user, password, right) in [
            ("ada", "secret", true),
            ("bob", "", true),
            ("", "nameless", true),
            ("ada", "", false),
            ("ada", "secre", false),
            ("ada", "secret ", false),
            ("ada", "secret\0", false),
            ("ada", "Secret", false),
            ("Ada", "secret", false),
            ("bob", "secret", false),
            ("eve", "secret", false),
            ("eve", "", false),
            ("secret", "ada", false),
        ] {
            assert_eq!(users.verify(user, password.as_bytes()), right, "{user}");
        }
    }

    #[test]
    fn without_users_nobody_gets_in() {
        let users = users(&[]);
        assert!(!users.verify("", b""));
        assert!(!users.verify("admin", b"admin"));
    }

    #[test]
    fn debug_shows_neither_names_nor_passwords() {
        let shown = format!("{:?}", users(&[("ada", "secret")]));
        assert!(
            !shown.contains("ada") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
