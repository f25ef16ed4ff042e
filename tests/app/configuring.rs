//! Changes of the server's own state, whose callers may go at any moment: what memory says is what
//! the log `_system` says, always.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use strandlog::app::App;
use strandlog::app::logs::LogSettings;
use strandlog::store::Retention;

use crate::{Rig, open};

const KIND: &str = "test";
/// More polls than a change takes here; one that is still going on then is dropped all the same.
const POLLS_MAX: usize = 12;

/// Polls so often, with a chance for others in between, and drops the future; whether it was over.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

fn retention(bytes_max: u64) -> LogSettings {
    LogSettings {
        retention: Some(Retention {
            bytes_max: Some(bytes_max),
            ..Retention::default()
        }),
    }
}

type State = (Vec<(String, Vec<u8>)>, Vec<(String, LogSettings)>);

fn state(app: &App) -> State {
    let documents = app.documents(KIND).into_iter();
    let logs = app.logs().into_iter();
    (
        documents
            .map(|(name, json)| (name, json.to_vec()))
            .collect(),
        logs.map(|log| (log.name.as_str().to_owned(), log.settings))
            .collect(),
    )
}

/// What memory says, once everything before has had its turn; it has to be what a start would read.
async fn agreed(rig: &Rig) -> State {
    rig.app.put_document(KIND, "turn", b"0").await.unwrap();
    let seen = state(&rig.app);
    assert_eq!(seen, state(&open(&rig.store, &rig.clock).await));
    seen
}

#[tokio::test]
async fn a_change_whose_caller_goes_at_any_step_is_made_to_its_end() {
    let rig = Rig::new().await;
    for polls in 1..=POLLS_MAX {
        let json = polls.to_string();
        let was_over = dropped_after(polls, rig.app.put_document(KIND, "a", json.as_bytes())).await;
        let (documents, _) = agreed(&rig).await;
        let expected = ("a".to_owned(), json.into_bytes());
        assert_eq!(documents.first(), Some(&expected), "after {polls} polls");

        dropped_after(polls, rig.app.remove_document(KIND, "a")).await;
        let (documents, _) = agreed(&rig).await;
        assert_eq!(documents.len(), 1, "after {polls} polls");

        let settings = retention(1_000_000 + u64::try_from(polls).unwrap());
        dropped_after(polls, rig.app.put_log("default", Some(settings))).await;
        let (_, logs) = agreed(&rig).await;
        assert!(
            logs.contains(&("default".to_owned(), settings)),
            "after {polls} polls"
        );
        if was_over {
            break;
        }
    }
}

#[tokio::test]
async fn a_change_whose_caller_goes_while_it_waits_for_its_turn_is_made_too() {
    let rig = Rig::new().await;
    let first = dropped_after(1, rig.app.put_document(KIND, "a", b"1"));
    let second = dropped_after(1, rig.app.put_document(KIND, "a", b"2"));
    let third = dropped_after(1, rig.app.remove_document(KIND, "b"));
    tokio::join!(first, second, third);
    let (documents, _) = agreed(&rig).await;
    assert_eq!(documents.first(), Some(&("a".to_owned(), b"2".to_vec())));
}
