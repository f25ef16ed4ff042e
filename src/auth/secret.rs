//! Secrets: made from real randomness, compared without telling, kept as a slow hash.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

/// Memory of one hash, in KiB. With [`PASSES`] and [`LANES`] the least that the OWASP Password
/// Storage Cheat Sheet asks of Argon2id.
const MEMORY_KIB: u32 = 19 << 10;
/// Passes over that memory.
const PASSES: u32 = 2;
/// Lanes of that memory.
const LANES: u32 = 1;
/// The most memory that a kept hash may ask for, in KiB: more was not made here, and would be a way
/// to exhaust the server.
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// The most passes that a kept hash may ask for, for the same reason.
const PASSES_MAX: u32 = 16;
/// The bytes of salt and of hash: what the PHC string format and RFC 9106 recommend.
const SALT_LEN: usize = 16;
/// See [`SALT_LEN`].
const HASH_LEN: usize = 32;
/// The most hashes at a time. Each fills a core and 19 MiB; two make about a hundred logins a
/// second. Never more than half of the cores, so that a flood of logins leaves the rest to events.
const TURNS_MAX: usize = 2;
/// The most hashes that wait or run: what is over within about a second.
const PLACES_MAX: usize = 64;
/// The bytes of a keyed hash.
pub(super) const TAG_LEN: usize = 32;

/// What a keyed hash is of, so that those of one kind say nothing about another.
#[derive(Clone, Copy)]
pub(super) enum Domain {
    User,
    Password,
    Compared,
}

/// The key of this process: no tag outlives it or can be computed outside.
static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let mut key = [0; TAG_LEN];
    fill_random(&mut key);
    hmac::Key::new(hmac::HMAC_SHA256, &key)
});

/// HMAC-SHA256 under the key of this process. Takes as long as `bytes` are long.
pub(super) fn tag(domain: Domain, bytes: &[u8]) -> [u8; TAG_LEN] {
    let domain = match domain {
        Domain::User => b'u',
        Domain::Password => b'p',
        Domain::Compared => b'c',
    };
    let mut context = hmac::Context::with_key(&KEY);
    context.update(&[domain]);
    context.update(bytes);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

/// Fills `bytes` with numbers that nobody can foretell.
///
/// # Panics
///
/// If the operating system has none: a secret made without would be none.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the operating system gives random bytes");
}

/// A secret of `len` letters and digits, each of the 62 as likely as the others. 22 of them are
/// worth 128 bits.
///
/// # Panics
///
/// If the operating system has no random numbers.
#[must_use]
pub fn random_token(len: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut token = String::with_capacity(len);
    let mut bytes = [0; 64];
    while token.len() < len {
        fill_random(&mut bytes);
        // Six bits are 64 values. The two that stand for no letter are passed over, for to fold
        // them onto others would make those likelier.
        let letters = bytes
            .iter()
            .filter_map(|byte| LETTERS.get(usize::from(byte & 0x3f)));
        token.extend(
            letters
                .take(len - token.len())
                .map(|byte| char::from(*byte)),
        );
    }
    token
}

/// Whether two secrets are the same. How long it takes depends on their lengths, not on where they
/// differ, and a wrong length is not found sooner.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    tag(Domain::Compared, a)
        .ct_eq(&tag(Domain::Compared, b))
        .into()
}

/// A secret at rest: an Argon2id hash with a salt of its own, in the PHC string form.
///
/// It serializes as that string, and deserializes only from one that this code could verify.
///
/// [`hash`](Self::hash) and [`verify`](Self::verify) take tens of milliseconds of a core: on an
/// async worker use [`hash`] and [`verify`] of this module.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoredSecret(PasswordHash);

impl StoredSecret {
    /// The hash of a secret, with a new salt. Blocks for tens of milliseconds.
    ///
    /// # Panics
    ///
    /// If the memory for it cannot be had, or the operating system has no random numbers.
    #[must_use]
    pub fn hash(secret: &str) -> Self {
        let mut salt = [0; SALT_LEN];
        fill_random(&mut salt);
        let hash = hasher()
            .hash_password_with_salt(secret.as_bytes(), &salt)
            .expect("the parameters are in range, and 19 MiB can be had");
        Self(hash)
    }

    /// Whether this is the hash of `secret`. Blocks for tens of milliseconds.
    #[must_use]
    pub fn verify(&self, secret: &str) -> bool {
        hasher().verify_password(secret.as_bytes(), &self.0).is_ok()
    }

    /// The hash of nothing: no secret is right, and to find that out costs as much as for any
    /// other. For names that do not exist.
    #[must_use]
    pub fn dummy() -> &'static Self {
        static DUMMY: LazyLock<StoredSecret> = LazyLock::new(|| {
            let mut bytes = [0; SALT_LEN + HASH_LEN];
            fill_random(&mut bytes);
            let (salt, hash) = bytes.split_at(SALT_LEN);
            let text = format!(
                "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
                STANDARD_NO_PAD.encode(salt),
                STANDARD_NO_PAD.encode(hash),
            );
            StoredSecret::try_from(text).expect("it has the form that is checked")
        });
        &DUMMY
    }
}

fn hasher() -> Argon2<'static> {
    const PARAMS: Params = match Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_LEN)) {
        Ok(params) => params,
        Err(_) => panic!("the parameters are out of range"),
    };
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

impl TryFrom<String> for StoredSecret {
    type Error = NotStored;

    fn try_from(text: String) -> Result<Self, NotStored> {
        let hash = PasswordHash::new(&text).map_err(|_| NotStored)?;
        let params = Params::try_from(&hash).map_err(|_| NotStored)?;
        let known = hash.algorithm == Algorithm::Argon2id.ident()
            && hash.version == Some(Version::V0x13.into())
            && hash.salt.is_some()
            && hash.hash.is_some_and(|hash| hash.len() >= SALT_LEN)
            && params.m_cost() <= MEMORY_KIB_MAX
            && params.t_cost() <= PASSES_MAX
            && params.p_cost() == LANES;
        known.then_some(Self(hash)).ok_or(NotStored)
    }
}

impl From<StoredSecret> for String {
    fn from(secret: StoredSecret) -> Self {
        secret.0.to_string()
    }
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSecret").finish_non_exhaustive()
    }
}

/// A text that is no Argon2id hash in the PHC string form, or one that would cost too much to
/// verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStored;

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an Argon2id hash in the PHC string form, within the limits")
    }
}

impl std::error::Error for NotStored {}

/// Too many secrets are waiting to be hashed, or the server is stopping. Nothing was decided: the
/// same request may be tried later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many secrets are being checked")
    }
}

impl std::error::Error for Busy {}

/// [`StoredSecret::hash`] on a thread that may block, a few at a time.
///
/// # Errors
///
/// [`Busy`].
pub async fn hash(secret: String) -> Result<StoredSecret, Busy> {
    TURNS.run(move || StoredSecret::hash(&secret)).await
}

/// [`StoredSecret::verify`] on a thread that may block, a few at a time. Without a stored secret
/// the answer is no, after the same time: for names that do not exist.
///
/// # Errors
///
/// [`Busy`].
pub async fn verify(stored: Option<&StoredSecret>, presented: &str) -> Result<bool, Busy> {
    let stored = stored.unwrap_or_else(|| StoredSecret::dummy()).clone();
    let presented = presented.to_owned();
    TURNS.run(move || stored.verify(&presented)).await
}

static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    Turns::new((cores / 2).clamp(1, TURNS_MAX), PLACES_MAX)
});

/// How many slow hashes were and are being made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCounts {
    /// Made since the start of the process.
    pub made: u64,
    /// Refused as too many.
    pub refused: u64,
    /// Being made.
    pub running: usize,
    /// Waiting to be made.
    pub waiting: usize,
}

/// How many slow hashes this process has made, and is about to.
#[must_use]
pub fn hash_counts() -> HashCounts {
    TURNS.counts()
}

/// Lets a few run and some wait.
#[derive(Debug)]
struct Turns {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    turns_max: usize,
    places_max: usize,
    made: Arc<AtomicU64>,
    refused: AtomicU64,
}

impl Turns {
    fn new(turns: usize, places: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            places: Arc::new(Semaphore::new(places)),
            turns_max: turns,
            places_max: places,
            made: Arc::default(),
            refused: AtomicU64::new(0),
        }
    }

    fn counts(&self) -> HashCounts {
        // In this order, or one that begins meanwhile would seem to run without a place.
        let running = self.turns_max - self.turns.available_permits();
        let places = self.places_max - self.places.available_permits();
        HashCounts {
            made: self.made.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            running,
            waiting: places.saturating_sub(running),
        }
    }

    /// Runs `work` on a blocking thread. If the future is dropped meanwhile, the work ends by
    /// itself and keeps its turn until then: giving up does not make room for more.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Busy
        })?;
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|_closed| Busy)?;
        let made = Arc::clone(&self.made);
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            made.fetch_add(1, Ordering::Relaxed);
            drop((turn, place));
            done
        });
        // A task fails by panicking or by being cancelled when the runtime ends.
        done.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests;
