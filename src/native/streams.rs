//! `.../streams`: listing and describing streams.

use crate::http::{Reply, StatusCode, etag, header};
use crate::json::write;

use super::call::{Call, Next, json_reply};
use super::failure::Refusal;

/// Lists streams, by prefix, a page at a time.
pub(super) async fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let mut query = call.query()?;
    let prefix = query.one("prefix")?.unwrap_or_default();
    let (after, limit) = call.paging(&mut query)?;
    query.finish()?;
    let page = log
        .streams(&prefix, after.as_deref(), limit.as_len())
        .await?;

    let mut body = Vec::with_capacity(64 + 96 * page.streams.len());
    body.extend_from_slice(b"{\"streams\":[");
    for (index, stream) in page.streams.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"stream\":");
        write::string(&mut body, &stream.name);
        body.extend_from_slice(b",\"lastSequence\":");
        write::number(&mut body, stream.last_sequence);
        body.extend_from_slice(b",\"lastId\":");
        write::number(&mut body, stream.last_id);
        body.push(b'}');
    }
    Ok(call.end_list(body, Next::After(page.next.as_deref()), limit))
}

/// Describes a stream.
pub(super) async fn describe(call: &Call<'_>) -> Result<Reply, Refusal> {
    let log = call.log()?;
    let name = call.stream()?;
    call.no_query()?;
    let stream = log.stream(&name).await?;
    let tag = etag::strong(stream.last_sequence);
    if call.has(&tag)? {
        return Ok(Reply::new(StatusCode::NOT_MODIFIED).header(header::ETAG, tag));
    }
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(b"{\"stream\":");
    write::string(&mut body, name.as_str());
    body.extend_from_slice(b",\"events\":");
    write::number(&mut body, stream.count);
    body.extend_from_slice(b",\"lastSequence\":");
    write::number(&mut body, stream.last_sequence);
    body.extend_from_slice(b",\"lastId\":");
    write::number(&mut body, stream.last_id);
    body.extend_from_slice(b",\"firstSequence\":");
    write::maybe_number(&mut body, stream.first.map(|first| first.sequence));
    body.extend_from_slice(b",\"firstId\":");
    write::maybe_number(&mut body, stream.first.map(|first| first.id.get()));
    body.push(b'}');
    Ok(json_reply(StatusCode::OK, body).header(header::ETAG, tag))
}
