//! What is counted, and `/metrics` in the OpenMetrics text form. No behaviour depends on it.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::auth::secret::{self, HashCounts};
use crate::http::{HeaderValue, Method, Reply, StatusCode};
use crate::store::Health;
use crate::webhook::{Hub, Outcome};

use super::call::Call;
use super::failure::Refusal;
use super::logs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLog {
    log: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogHealth {
    log: String,
    health: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivery {
    outcome: &'static str,
}

/// Slow hashes of passwords and secrets: what keeps a flood of logins from taking the machine.
#[derive(Default)]
struct HashMetrics {
    made: Counter,
    refused: Counter,
    running: Gauge,
    waiting: Gauge,
}

/// The method as a label: few values, whatever clients send.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The counters of the server.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    readers: Gauge,
    logs: LogMetrics,
    attempts: Family<Delivery, Counter>,
    hashes: HashMetrics,
}

#[derive(Default)]
struct LogMetrics {
    first_id: Family<OfLog, Gauge>,
    last_id: Family<OfLog, Gauge>,
    durable_id: Family<OfLog, Gauge>,
    bytes: Family<OfLog, Gauge>,
    health: Family<LogHealth, Gauge>,
    events: Family<OfLog, Counter>,
    event_bytes: Family<OfLog, Counter>,
    appends: Family<OfLog, Counter>,
    appends_refused: Family<OfLog, Counter>,
    commits: Family<OfLog, Counter>,
    syncs: Family<OfLog, Counter>,
    sync_us: Family<OfLog, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// From 50 µs, which is less than a sync takes, to 26 s, which is about the longest wait.
fn seconds_histogram() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 20))
}

impl Metrics {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("strandlog");
        let requests = Family::<Answer, Counter>::default();
        let seconds: Family<Route, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(seconds_histogram);
        let readers = Gauge::default();
        let logs = LogMetrics::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "http_request",
            "Time from a request's head to its reply's head",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register(
            "http_streaming_replies",
            "Replies being written as streams",
            readers.clone(),
        );
        for (name, help, family) in [
            ("log_first_id", "The oldest id kept", &logs.first_id),
            ("log_last_id", "The last id", &logs.last_id),
            (
                "log_durable_id",
                "The last id known durable",
                &logs.durable_id,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register_with_unit(
            "log_disk",
            "Space taken, reserved space included",
            Unit::Bytes,
            logs.bytes.clone(),
        );
        registry.register(
            "log_health",
            "1 for the state that the log is in: writable, full, failed or closed",
            logs.health.clone(),
        );
        for (name, help, family) in [
            ("log_events", "Events stored", &logs.events),
            (
                "log_event_bytes",
                "Their bytes as stored",
                &logs.event_bytes,
            ),
            ("log_appends", "Publishes stored", &logs.appends),
            (
                "log_appends_refused",
                "Publishes refused",
                &logs.appends_refused,
            ),
            (
                "log_commits",
                "Writes, each with many publishes",
                &logs.commits,
            ),
            ("log_syncs", "Syncs", &logs.syncs),
            (
                "log_sync_microseconds",
                "Time spent in syncs",
                &logs.sync_us,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        let attempts = Family::<Delivery, Counter>::default();
        registry.register(
            "delivery_attempts",
            "Attempts to deliver events to endpoints",
            attempts.clone(),
        );
        let hashes = HashMetrics::default();
        hashes.register(&mut registry);
        Self {
            registry,
            requests,
            seconds,
            readers,
            logs,
            attempts,
            hashes,
        }
    }

    /// Counts an answer; `time` is how long it took up to its head.
    pub fn answered(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        time: Duration,
    ) {
        let method = method_label(method);
        let answer = Answer {
            method,
            route,
            status: status.as_u16(),
        };
        self.requests.get_or_create(&answer).inc();
        self.seconds
            .get_or_create(&Route { method, route })
            .observe(time.as_secs_f64());
    }

    /// What is counted, and what is known of the logs now.
    fn encode(&self, hub: &Hub, readers: usize) -> Result<String, fmt::Error> {
        self.readers.set(i64::try_from(readers).unwrap_or(i64::MAX));
        for log in hub.app().logs() {
            self.logs.set(&log);
        }
        for outcome in Outcome::ALL {
            let labels = Delivery {
                outcome: outcome.as_str(),
            };
            let count = hub.counts().get(outcome);
            let counter = self.attempts.get_or_create(&labels);
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.hashes.set(&secret::hash_counts());
        let mut out = String::with_capacity(16 << 10);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl HashMetrics {
    fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("secret_hashes", "Slow hashes of secrets made", &self.made),
            (
                "secret_hashes_refused",
                "Logins refused because too many hashes waited",
                &self.refused,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, gauge) in [
            ("secret_hashes_running", "Hashes being made", &self.running),
            ("secret_hashes_waiting", "Hashes waiting", &self.waiting),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    fn set(&self, counts: &HashCounts) {
        self.made.inner().store(counts.made, Ordering::Relaxed);
        self.refused
            .inner()
            .store(counts.refused, Ordering::Relaxed);
        let gauge =
            |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(&self.running, counts.running);
        gauge(&self.waiting, counts.waiting);
    }
}

impl LogMetrics {
    fn set(&self, log: &crate::app::logs::LogDescription) {
        let state = &log.state;
        let name = log.name.as_str().to_owned();
        let of_log = OfLog { log: name.clone() };
        let gauge = |family: &Family<OfLog, Gauge>, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.get_or_create(&of_log).set(value);
        };
        gauge(&self.first_id, state.first.get());
        gauge(&self.last_id, state.end.get() - 1);
        gauge(&self.durable_id, state.durable_end.get() - 1);
        gauge(&self.bytes, state.bytes);
        let now = logs::health(&state.health);
        for health in [
            Health::Writable,
            Health::Full,
            Health::Failed("".into()),
            Health::Closed,
        ] {
            let health = logs::health(&health);
            let labels = LogHealth {
                log: name.clone(),
                health,
            };
            self.health
                .get_or_create(&labels)
                .set(i64::from(health == now));
        }
        // The log counts itself; here its counts are only shown.
        let counter = |family: &Family<OfLog, Counter>, value: u64| {
            family
                .get_or_create(&of_log)
                .inner()
                .store(value, Ordering::Relaxed);
        };
        let counts = &state.counts;
        counter(&self.events, counts.records);
        counter(&self.event_bytes, counts.record_bytes);
        counter(&self.appends, counts.appends);
        counter(&self.appends_refused, counts.appends_refused);
        counter(&self.commits, counts.commits);
        counter(&self.syncs, counts.syncs);
        counter(&self.sync_us, counts.sync_time_us);
    }
}

/// `GET /metrics`.
pub(super) fn show(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.no_query()?;
    let readers = call
        .api
        .app
        .limits()
        .readers_max
        .saturating_sub(call.api.readers.available_permits());
    let text = call.api.metrics.encode(call.api.webhooks.hub(), readers);
    let text = text.map_err(|error| {
        crate::app::Failure::new(
            crate::app::Code::Internal,
            "the metrics could not be written",
        )
        .caused_by(&error)
    })?;
    Ok(Reply::new(StatusCode::OK)
        .typed(HeaderValue::from_static(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ))
        .full(text))
}
