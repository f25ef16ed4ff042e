//! How a webhook is called: the events as this API shows them, signed by Standard Webhooks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::app::Event;
use crate::http::{HeaderValue, Method, StatusCode, header};
use crate::store::{LogName, Pending};
use crate::webhook::client::{Answer, CallError};
use crate::webhook::endpoint::Endpoint;
use crate::webhook::signature::{Secret, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::webhook::{DeliveryInfo, OwnedCall, Target, Verdict};

use super::super::call::JSON;
use super::super::render::{self, Breaks};
use super::keeper::Webhooks;

/// The endpoint of a webhook.
#[derive(Debug)]
pub(super) struct WebhookTarget {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) secret: Secret,
    /// Whether a call may carry several events, and says so by its form.
    pub(super) batched: bool,
    pub(super) timeout: Duration,
    /// Where it is remembered that the endpoint wants no more calls, and of which webhook.
    pub(super) keeper: Webhooks,
    pub(super) log: LogName,
    pub(super) name: String,
    pub(super) id: String,
}

impl Target for WebhookTarget {
    fn call(&self, events: &[Event<'_>], delivery: &DeliveryInfo) -> Result<OwnedCall, String> {
        let body = body(events, self.batched);
        // Whole seconds, as the specification wants them.
        let timestamp_s = i64::try_from(delivery.now_us / 1_000_000).unwrap_or(i64::MAX);
        let signature = self.secret.sign(&delivery.id, timestamp_s, &body);
        let value = |text: String| {
            HeaderValue::try_from(text).map_err(|_| "its headers cannot be written".to_owned())
        };
        Ok(OwnedCall {
            endpoint: Arc::clone(&self.endpoint),
            method: Method::POST,
            headers: vec![
                (header::CONTENT_TYPE, JSON),
                (WEBHOOK_ID, value(delivery.id.clone())?),
                (WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp_s)),
                (WEBHOOK_SIGNATURE, value(signature)?),
            ],
            body: Bytes::from(body),
        })
    }

    /// By Standard Webhooks 410 switches a webhook off; everything but success is tried again.
    fn judge(&self, outcome: &Result<Answer, CallError>) -> Verdict {
        match outcome {
            Ok(answer) if answer.status.is_success() => Verdict::Delivered,
            Ok(answer) if answer.status == StatusCode::GONE => Verdict::Gone,
            Ok(_) | Err(_) => Verdict::Retry,
        }
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn gone(&self) -> Pending<'_, ()> {
        Box::pin(self.keeper.gone(&self.log, &self.name, &self.id))
    }
}

/// One event as it is, or an object with all of them.
fn body(events: &[Event<'_>], batched: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 << 10);
    if batched {
        body.extend_from_slice(b"{\"events\":[");
    }
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        render::event(&mut body, event, Breaks::Keep);
    }
    if batched {
        body.extend_from_slice(b"]}");
    }
    body
}
