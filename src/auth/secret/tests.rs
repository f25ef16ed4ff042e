//! What a secret is like, and that hashing never takes more than its share.

use std::sync::mpsc;

use super::*;

#[test]
fn a_random_token_has_its_length_and_only_letters_and_digits() {
    for len in [0, 1, 22, 63, 64, 65, 1_000] {
        let token = random_token(len);
        assert_eq!(token.len(), len);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    assert_ne!(random_token(22), random_token(22));
}

#[test]
fn every_letter_is_as_likely_as_the_others() {
    let token = random_token(62_000);
    let mut counts = [0_u32; 256];
    for byte in token.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let counts: Vec<u32> = counts.into_iter().filter(|count| *count > 0).collect();
    assert_eq!(counts.len(), 62);
    // 1,000 are expected of each, with a deviation of 31: nine of those are never seen by chance, and
    // to fold the two spare values of six bits onto letters would double the number of those.
    let even = counts.iter().all(|count| (700..1_300).contains(count));
    assert!(even, "{counts:?}");
}

#[test]
fn secrets_are_equal_only_if_all_their_bytes_are() {
    for (a, b, same) in [
        (&b""[..], &b""[..], true),
        (b"secret", b"secret", true),
        (b"secret", b"secreT", false),
        (b"Secret", b"secret", false),
        (b"secret", b"secre", false),
        (b"secret", b"secret\0", false),
        (b"", b"\0", false),
    ] {
        assert_eq!(equal(a, b), same);
    }
}

#[test]
fn a_stored_secret_knows_its_own_and_survives_being_written_down() {
    let stored = StoredSecret::hash("correct horse");
    let written = serde_json::to_string(&stored).unwrap();
    assert!(written.starts_with("\"$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(!written.contains("correct"));
    let read: StoredSecret = serde_json::from_str(&written).unwrap();
    assert_eq!(read, stored);
    assert!(read.verify("correct horse"));
    assert!(!read.verify("correct horsf"));
    assert!(!read.verify(""));
}

#[test]
fn the_same_secret_is_stored_differently_each_time() {
    assert_ne!(StoredSecret::hash("a"), StoredSecret::hash("a"));
}

#[test]
fn the_dummy_has_the_form_and_the_cost_of_any_other() {
    let dummy = String::from(StoredSecret::dummy().clone());
    let other = String::from(StoredSecret::hash(""));
    let cost = |text: &str| text.rsplitn(3, '$').last().unwrap().to_owned();
    assert_eq!(cost(&dummy), cost(&other));
    assert_eq!(dummy.len(), other.len());
    assert!(!StoredSecret::dummy().verify(""));
}

#[test]
fn only_hashes_that_can_be_verified_are_taken_as_stored() {
    let good = String::from(StoredSecret::dummy().clone());
    assert!(StoredSecret::try_from(good.clone()).is_ok());
    for (from, to) in [
        ("argon2id", "argon2i"),
        ("argon2id", "scrypt"),
        ("v=19", "v=16"),
        ("v=19$", ""),
        ("m=19456", "m=4294967295"),
        ("m=19456", "m=262145"),
        ("m=19456", "m=1"),
        ("t=2", "t=17"),
        ("t=2", "t=0"),
        ("p=1", "p=16777215"),
        ("p=1", "q=1"),
    ] {
        assert!(good.contains(from));
        let text = good.replacen(from, to, 1);
        assert_eq!(
            StoredSecret::try_from(text.clone()),
            Err(NotStored),
            "{text}"
        );
    }
    let short = good.rsplit_once('$').unwrap().0;
    for text in [
        "",
        "secret",
        "$",
        "$argon2id$",
        short,
        &format!("{short}$AAAAAAAAAAAAAA"),
    ] {
        assert_eq!(
            StoredSecret::try_from(text.to_owned()),
            Err(NotStored),
            "{text}"
        );
    }
    assert!(serde_json::from_str::<StoredSecret>("\"secret\"").is_err());
}

#[test]
fn debug_shows_nothing_of_a_stored_secret() {
    let shown = format!("{:?}", StoredSecret::dummy());
    assert!(!shown.contains('$') && shown.len() < 40, "{shown}");
}

#[tokio::test]
async fn a_secret_is_verified_off_the_worker() {
    let stored = hash("right".to_owned()).await.unwrap();
    assert_eq!(verify(Some(&stored), "right").await, Ok(true));
    assert_eq!(verify(Some(&stored), "wrong").await, Ok(false));
    assert_eq!(verify(None, "right").await, Ok(false));
}

#[tokio::test]
async fn more_than_may_wait_are_refused_and_the_others_have_their_turn() {
    let turns = Arc::new(Turns::new(1, 2));
    let (release, released) = mpsc::channel::<()>();
    let (begun, beginning) = tokio::sync::oneshot::channel();
    let first = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            let work = move || {
                begun.send(()).unwrap();
                released.recv().unwrap();
                1
            };
            turns.run(work).await
        }
    });
    beginning.await.unwrap();
    let second = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move { turns.run(|| 2).await }
    });
    while turns.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(turns.run(|| 3).await, Err(Busy));
    assert!(!second.is_finished());
    let held = HashCounts {
        refused: 1,
        running: 1,
        waiting: 1,
        ..HashCounts::default()
    };
    assert_eq!(turns.counts(), held);
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(1));
    assert_eq!(second.await.unwrap(), Ok(2));
    assert_eq!(turns.run(|| 4).await, Ok(4));
    let over = HashCounts {
        made: 3,
        refused: 1,
        ..HashCounts::default()
    };
    assert_eq!(turns.counts(), over);
}

#[tokio::test]
async fn whoever_gives_up_keeps_the_turn_until_the_work_has_ended() {
    let turns = Arc::new(Turns::new(1, 1));
    let (release, released) = mpsc::channel::<()>();
    let (begun, beginning) = tokio::sync::oneshot::channel();
    let given_up = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            let work = move || {
                begun.send(()).unwrap();
                released.recv().unwrap();
            };
            turns.run(work).await
        }
    });
    beginning.await.unwrap();
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    assert_eq!(turns.run(|| ()).await, Err(Busy));
    release.send(()).unwrap();
    let _place = turns.places.acquire().await.unwrap();
    assert_eq!(turns.turns.available_permits(), 1);
}
