//! Raw records: each is decoded here from docs alone (engine/FORMAT.md, sections 4, 5 and 16), its
//! checksum checked, and compared with the same event as JSON.

use crate::harness::{EVENTS, Server, ids};

const RECORDS: &str = "application/vnd.strandlog.records";

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The ids and bodies of the records of a stream, each checked.
fn decode(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    let mut masks = Vec::new();
    while !bytes.is_empty() {
        if bytes.starts_with(b"STRANDRW") {
            let (header, rest) = bytes.split_at(48);
            assert_eq!(u32_at(header, 44), crc32(&header[..44]));
            let mut identity = header[16..32].to_vec();
            identity.extend_from_slice(&header[32..40]);
            masks.push(identity);
            bytes = rest;
        } else if bytes.starts_with(b"BAT\x80") {
            bytes = &bytes[48..];
        } else {
            let len = u32_at(bytes, 0) as usize;
            let (record, rest) = bytes.split_at(len);
            let (tags, padding) = (usize::from(record[4]), usize::from(record[5]));
            let tags_len = usize::from(u16::from_le_bytes([record[6], record[7]]));
            let body = &record[8 + tags_len..len - 24 - 8 * tags - padding];
            let mask = crc32(masks.last().expect("a piece begins with its header"));
            assert_eq!(u32_at(record, len - 4), crc32(&record[..len - 4]) ^ mask);
            records.push((u64_at(record, len - 24), body.to_vec()));
            bytes = rest;
        }
    }
    records
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn raw_records_decode_verify_and_are_the_events() {
    let server = Server::start();
    server.fill("s", 4_000);
    for (query, want) in [
        ("", (1..=4_000).collect::<Vec<u64>>()),
        ("?from=1990&to=2010", (1_990..=2_010).collect()),
        ("?after=3999", vec![4_000]),
        ("?from=4001", vec![]),
    ] {
        let reply = server.get_as(&format!("{EVENTS}{query}"), RECORDS);
        assert_eq!(reply.header("content-type"), Some(RECORDS));
        assert!(reply.whole, "{query}");
        let records = decode(&reply.body);
        let found: Vec<u64> = records.iter().map(|(id, _)| *id).collect();
        assert_eq!(found, want, "{query}");
        for (id, body) in records {
            let data = format!("{{\"n\":{}}}", id - 1);
            assert!(body.ends_with(data.as_bytes()));
        }
    }
}

#[test]
fn raw_records_come_whole_or_not_at_all() {
    let server = Server::start();
    server.fill("s", 10);
    for query in ["stream=s", "type=counted", "tag=x", "direction=backward"] {
        let reply = server.get_as(&format!("{EVENTS}?{query}"), RECORDS);
        reply.problem(400, "invalid-range");
    }
    let page = server.get(&format!("{EVENTS}?from=3&to=4")).good();
    assert_eq!(ids(&page), [3, 4]);
}
