//! How connections are served, without a product behind them.

use std::io::{Read, Write};
use std::net::TcpStream as Client;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;

use super::*;
use crate::clock::SystemClock;
use crate::http::ReplyBody;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
const PIECE: Bytes = Bytes::from_static(&[b'x'; 64 << 10]);
/// More than the system's buffers and ours hold of a connection, in pieces: 16 MiB.
const AHEAD_MAX: usize = 256;
/// The same if the client has read nothing: 1 MiB. Where the system may keep as much as it likes, it
/// keeps more.
const UNREAD_MAX: usize = 16;

/// A client whose requests `reply` answers; the server lives as long as its runtime.
async fn client<F>(reply: impl Fn() -> F + Send + Sync + 'static) -> Client
where
    F: Future<Output = Reply> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    hold_unsent(&listener);
    let client = Client::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    tokio::spawn(async move {
        let conversation = Arc::new(Conversation::default());
        let ids = Arc::new(RequestIds::new(0));
        let paced = Paced::new(stream, PATIENCE, Arc::clone(&conversation), ids);
        let service = service_fn(|_request: hyper::Request<Incoming>| {
            let (turn, reply) = (conversation.begin(), reply());
            async move {
                let response = reply.await.into_response();
                Ok::<_, Infallible>(response.map(|body: ReplyBody| turn.reply(body)))
            }
        });
        let limits = Limits::default();
        let connection = http(&limits).serve_connection(TokioIo::new(paced), service);
        let _ended = connection.await;
    });
    client
}

fn request(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Waits until the count stands still, and returns it.
fn settled(count: &AtomicUsize) -> usize {
    let clock = SystemClock::new();
    let deadline = clock.moment().after(PATIENCE);
    let (mut before, mut still) = (0, 0);
    while still < 10 {
        assert!(clock.moment() < deadline, "it goes on and on");
        thread::park_timeout(Duration::from_millis(10));
        let now = count.load(Ordering::Relaxed);
        still = if now == before && now > 0 {
            still + 1
        } else {
            0
        };
        before = now;
    }
    before
}

/// Reads up to the first occurrence of `end`, and returns it all.
fn read_until(client: &mut Client, end: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4 << 10];
    while !String::from_utf8_lossy(&text).contains(end) {
        let len = client.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..len]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn accepts_that_fail_are_tried_again_soon_and_never_at_once() {
    let mut pauses = Pauses::default();
    let taken: Vec<Duration> = (0..8).map(|_| pauses.next()).collect();
    let taken_ms: Vec<u128> = taken.iter().map(Duration::as_millis).collect();
    assert_eq!(taken_ms, [5, 10, 20, 40, 80, 100, 100, 100]);
}

/// An ended connection that is not forgotten keeps the memory of its task, until the next one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_is_forgotten_when_it_ends_and_not_when_the_next_one_comes() {
    const COUNT: usize = 8;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let permits = Arc::new(Semaphore::new(2 * COUNT));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let looked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&looked);
    let taking = tokio::spawn({
        let permits = Arc::clone(&permits);
        async move {
            let mut stopped = pin!(stopped);
            let shutdown = poll_fn(|cx| {
                counter.fetch_add(1, Ordering::Relaxed);
                stopped.as_mut().poll(cx).map(drop)
            });
            // Ends with its client.
            let serve = |accepted: Accepted| async move {
                let Accepted { stream, _permit } = accepted;
                let wait = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
                while stream.try_read(&mut [0]).as_ref().is_err_and(wait) {
                    let _ready = stream.readable().await;
                }
            };
            let clock = SystemClock::new();
            take(&listener, &permits, &clock, serve, shutdown)
                .await
                .len()
        }
    });
    let clients: Vec<Client> = (0..COUNT)
        .map(|_| Client::connect(address).unwrap())
        .collect();
    let clock = SystemClock::new();
    let deadline = clock.moment().after(PATIENCE);
    while permits.available_permits() > COUNT {
        assert!(clock.moment() < deadline, "they are not taken");
        thread::park_timeout(Duration::from_millis(1));
    }
    let before = settled(&looked);
    drop(clients);
    // Whoever waits for the next connection hears of each that ends.
    while looked.load(Ordering::Relaxed) == before || permits.available_permits() < 2 * COUNT - 1 {
        assert!(clock.moment() < deadline, "they are not forgotten");
        thread::park_timeout(Duration::from_millis(1));
    }
    settled(&looked);
    stop.send(()).unwrap();
    assert_eq!(taking.await.unwrap(), 0);
}

/// What a connection needs for a request it has only while there is one.
#[test]
fn a_connection_without_a_request_is_small() {
    fn len_of_serve<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }
    fn len_of_answer<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }
    let serving = len_of_serve(Server::serve);
    assert!(serving <= 2 << 10, "{serving}");
    let answering =
        len_of_answer::<&'static Server, _, &'static Arc<Conversation>, _>(Server::answer);
    assert!(answering <= 2 << 10, "{answering}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_in_a_row_are_taken_no_faster_than_their_replies() {
    const COUNT: usize = 1_000;
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let mut client = client(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Reply::new(StatusCode::OK).full(PIECE) }
    })
    .await;
    let requests: String = (0..COUNT).map(request).collect();
    client.write_all(requests.as_bytes()).unwrap();
    assert!(settled(&taken) <= UNREAD_MAX, "{taken:?}");
    let mut first = vec![0; PIECE.len()];
    client.read_exact(&mut first).unwrap();
    assert!(
        first.starts_with(b"HTTP/1.1 200 "),
        "what was taken is answered"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_is_produced_no_faster_than_it_is_read() {
    const COUNT: usize = 1_500;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let mut client = client(move || {
        let counter = Arc::clone(&counter);
        async move {
            Reply::new(StatusCode::OK).streamed(move |mut out| async move {
                for _ in 0..COUNT {
                    counter.fetch_add(1, Ordering::Relaxed);
                    out.send(PIECE).await?;
                }
                Ok(())
            })
        }
    })
    .await;
    client.write_all(request(0).as_bytes()).unwrap();
    assert!(settled(&asked) <= UNREAD_MAX, "{asked:?}");
    // The client goes on in its own time, and the producer stays as near.
    let mut read_len = 0;
    let mut buffer = vec![0; PIECE.len()];
    while read_len < COUNT * PIECE.len() {
        read_len += client.read(&mut buffer).unwrap();
        let read = read_len / PIECE.len();
        assert!(asked.load(Ordering::Relaxed) <= read + AHEAD_MAX);
    }
    assert_eq!(asked.load(Ordering::Relaxed), COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_producer_ends_with_its_client() {
    let alive = Arc::new(());
    let guard = Arc::downgrade(&alive);
    let mut held = Some(alive);
    let alive = parking_lot::Mutex::new(held.take());
    let mut client = client(move || {
        let alive = alive.lock().take();
        async move {
            Reply::new(StatusCode::OK).streamed(move |mut out| async move {
                let _alive = alive;
                out.send(PIECE).await?;
                std::future::pending().await
            })
        }
    })
    .await;
    client.write_all(request(0).as_bytes()).unwrap();
    read_until(&mut client, "xxx");
    assert!(guard.upgrade().is_some());
    drop(client);
    let clock = SystemClock::new();
    let deadline = clock.moment().after(PATIENCE);
    while guard.upgrade().is_some() {
        assert!(clock.moment() < deadline, "it goes on and on");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_head_that_cannot_be_read_is_refused_in_words_behind_good_replies() {
    let mut client = client(|| async { Reply::new(StatusCode::OK).full("good") }).await;
    for number in 0..3 {
        client.write_all(request(number).as_bytes()).unwrap();
        assert!(read_until(&mut client, "good").starts_with("HTTP/1.1 200 "));
    }
    client.write_all(b"GET / HTTP/7.7\r\n\r\n").unwrap();
    let refusal = read_until(&mut client, "}");
    assert!(refusal.starts_with("HTTP/1.1 400 "), "{refusal}");
    assert!(
        refusal.contains("\"code\":\"malformed-request\""),
        "{refusal}"
    );
    assert!(refusal.contains("\r\nconnection: close\r\n"), "{refusal}");
    assert!(refusal.contains("\r\nx-request-id: "), "{refusal}");
}

/// The words are for hyper's own replies: what looks like one in a body is a payload. To a client of
/// HTTP/1.0 a body is sent piece by piece, without anything between.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_payload_that_looks_like_a_refusal_is_sent_as_it_is() {
    const FAKE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let mut client = client(|| async {
        Reply::new(StatusCode::OK).streamed(|mut out| async move {
            for _ in 0..5 {
                out.send(FAKE).await?;
                // So that each piece is a write of its own.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        })
    })
    .await;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert!(reply.ends_with(&FAKE.repeat(5)), "{reply}");
}
