//! Bad input and its answer, as one table. Each input goes over a socket of its own as the bytes it
//! is; after each, requests on new connections must succeed and find everything as it was.
//!
//! A row that is shown elsewhere names the tests that show it. Where an answer is not the one that
//! the list of bad input first had, the row says why.

use std::path::Path;

use crate::harness::Server;

use bench::Bench;

pub(crate) mod bench;
mod bodies;
mod framing;
mod headers;
mod heads;
mod names;
mod reads;

/// Where a row is shown.
#[derive(Clone, Copy)]
enum Shown {
    /// By the test of this name in this table.
    Here,
    /// By these tests, each a file and a function in it.
    Elsewhere(&'static [(&'static str, &'static str)]),
}

struct Row {
    number: u8,
    input: &'static str,
    shown: Shown,
}

/// Makes the table, and a test of each row that is shown here.
macro_rules! table {
    (
        here { $($number:literal $input:literal => $noun:ident::$name:ident;)* }
        elsewhere { $($away:literal $what:literal => [$(($file:literal, $test:literal)),+ $(,)?];)* }
    ) => {
        const TABLE: &[Row] = &[
            $(Row { number: $number, input: $input, shown: Shown::Here },)*
            $(Row { number: $away, input: $what, shown: Shown::Elsewhere(&[$(($file, $test)),+]) },)*
        ];

        $(#[test]
        fn $name() {
            $noun::$name(&mut Bench::new(Server::start_with($noun::limits)));
        })*
    };
}

table! {
    here {
        1 "Content-Length that differs, or is none: 400, close"
            => framing::lengths_that_are_none_are_refused;
        2 "two equal Content-Length: one (RFC 9110, section 8.6)"
            => framing::two_equal_lengths_are_one;
        3 "Content-Length 2^64 - 3, or limit + 1, without a body: 413 at once, close"
            => framing::a_length_over_the_limit_is_refused_before_the_body;
        4 "Content-Length and chunked with a request behind: one reply, close"
            => framing::a_request_smuggled_behind_a_length_is_not_run;
        5 "Transfer-Encoding that does not end in chunked, or in HTTP/1.0: 400, close"
            => framing::codings_that_frame_nothing_are_refused;
        6 "gzip before chunked, chunked twice: 501, close"
            => framing::codings_that_are_not_known_are_refused;
        7 "chunks that are none: 400, close"
            => framing::chunks_that_are_none_are_refused;
        // Trailers are read and left out, as RFC 9110, section 6.5.1, has it for fields that nobody
        // has asked for; more than hyper's hundred are a framing error.
        8 "200 trailers: 400; trailers that pose as headers: left out"
            => framing::trailers_are_never_headers;
        9 "a body that ends early: nothing stored"
            => framing::bodies_that_end_early_store_nothing;
        10 "a body of a byte now and then: 408 at the deadline, close"
            => framing::a_body_that_trickles_is_refused_at_its_deadline;
        11 "a head of a byte now and then, silence: closed at the header timeout"
            => heads::heads_that_trickle_are_cut_off;
        12 "no Host, two, or one that is none: 400, close"
            => heads::a_request_names_one_host;
        13 "101 headers, 70 KB of them: 431"
            => heads::heads_that_are_too_large_are_refused;
        14 "a target of 66 KB: 414" => heads::targets_that_are_too_long_are_refused;
        15 "bare CR, NUL, folds, raw 0xff in the head: 400, close"
            => heads::bytes_that_do_not_belong_in_a_head_are_refused;
        // The preface of HTTP/2 closes the connection without a word: a client that sends it would
        // not understand an answer in HTTP/1.1.
        16 "other protocols, random bytes: 400 or nothing, close"
            => heads::other_protocols_are_refused;
        // CONNECT is 501, not 405: its target is no resource, so no method could be allowed on it
        // (RFC 9110, section 9.3.6). TRACE is 405 where there is something, else 404.
        17 "unknown methods: 501; TRACE: 405 with Allow; CONNECT: 501"
            => heads::methods_that_are_not_there_are_refused;
        18 "Expect: 200-maybe: 417" => heads::expectations_are_met_or_refused;
        19 "HEAD: the same head without a body; OPTIONS: Allow"
            => heads::head_and_options_are_answered;
        20 "1,000 requests in one packet: answered in order"
            => heads::requests_in_one_packet_are_answered_in_order;
        // The host of the target is not looked at, but the Host header must name this machine, as
        // for every request while the API is open.
        21 "a target that names another host: its path"
            => heads::a_target_that_names_a_host_is_its_path;
        // The code is `invalid-log-name`: codes are written with dashes throughout.
        22 "log names that are paths: 400, and nothing anywhere is touched"
            => names::no_name_of_a_log_becomes_a_path;
        23 "stream names that look like paths: stored as they are"
            => names::any_text_is_a_name_of_a_stream;
        24 "stream names that are not UTF-8: 400" => names::what_is_no_text_is_no_name;
        25 "stream names with controls, of 256 bytes, empty: 400, never echoed raw"
            => names::controls_are_refused_and_not_echoed;
        26 "Idempotency-Key empty, too long, not ASCII, twice: 400"
            => headers::keys_that_are_none_are_refused;
        27 "the same key with another body: 422; at the same time: both the same ids"
            => headers::a_key_stands_for_one_request;
        28 "If-Match wrong: 412 with the actual sequence; nonsense: 400"
            => headers::expectations_of_a_stream_are_judged;
        29 "JSON that is none: 400 naming the byte" => bodies::json_that_is_none_is_refused;
        30 "NDJSON with one bad line: 400 naming the line"
            => bodies::one_bad_line_refuses_all_lines;
        31 "a batch over the limits: 413; empty: 400" => bodies::batches_have_limits;
        32 "content types and codings that are not taken: 415"
            => bodies::bodies_in_other_forms_are_refused;
        33 "query parameters that make no sense: 400 naming them; limit over the cap: capped"
            => reads::queries_that_make_no_sense_are_refused_by_name;
        // Beyond the end the page is empty and links to where a reader waits (`rel="monitor"`).
        34 "from below the first kept: 410 with it; beyond the end: an empty page"
            => reads::ranges_beyond_either_end_are_told_apart;
        // At or below the checkpoint is a repeat of what was acknowledged: 200 and no change.
        35 "an ack beyond the end: 409; of nonsense: 400; going back: no change"
            => reads::acknowledgements_never_go_wrong_or_back;
        36 "Last-Event-ID rubbish: 400" => reads::a_stream_goes_on_after_an_id_alone;
        37 "Prefer: wait=999999: capped and said so; wait=-1: ignored"
            => reads::a_wish_to_wait_is_capped_or_ignored;
        38 "Accept that cannot be met: 406" => reads::what_cannot_be_accepted_is_refused;
    }
    elsewhere {
        39 "credentials absent, malformed, twice" => [
            ("src/auth/basic.rs", "whatever_else_stands_there_is_not_basic"),
            ("tests/dialects/pavbis/bad_input.rs", "credentials_that_are_not_right_are_refused_alike"),
            ("tests/dialects/spotahome.rs", "credentials_are_judged_before_the_path"),
            ("tests/dialects/axon/errors.rs", "a_key_that_is_required_is_missing_wrong_or_right"),
        ];
        40 "forged tokens" => [
            ("src/auth/jwt/tests.rs", "forged_tokens_are_refused"),
            ("src/auth/jwt/tests.rs", "what_is_no_token_is_malformed"),
            ("src/auth/jwt/tests.rs", "a_token_may_have_its_length_and_not_a_byte_more"),
            ("src/auth/jwt/tests.rs", "times_are_judged_by_the_time_given"),
            ("tests/dialects/spotahome.rs", "tokens_of_a_public_key_are_verified_with_it_alone"),
        ];
        41 "wrong keys and unknown users" => [
            ("tests/process/logins.rs", "every_login_costs_one_hash_whoever_it_is_and_whatever_is_wrong"),
            ("src/auth/secret/tests.rs", "secrets_are_equal_only_if_all_their_bytes_are"),
            ("src/auth/secret/tests.rs", "the_dummy_has_the_form_and_the_cost_of_any_other"),
        ];
        42 "a flood of wrong passwords" => [
            ("tests/process/logins.rs", "a_flood_of_logins_is_refused_and_others_are_answered"),
            ("src/auth/secret/tests.rs", "more_than_may_wait_are_refused_and_the_others_have_their_turn"),
        ];
        // The native API has no principals while it is open on loopback; what stands between its
        // users and others is this.
        43 "what belongs to others" => [
            ("tests/api/around.rs", "pages_of_other_sites_are_kept_out"),
            ("tests/dialects/pavbis/shared_streams.rs", "once_a_stream_has_an_owner_no_other_door_writes_to_it"),
            ("tests/dialects/newstore.rs", "a_stream_that_belongs_to_a_producer_takes_nothing"),
        ];
        44 "endpoints inside the server's network" => [
            ("src/webhook/guard.rs", "everything_else_is_refused"),
            ("src/webhook/guard.rs", "an_endpoint_is_judged_by_the_address_its_host_is"),
            ("src/webhook/endpoint/tests.rs", "whatever_could_be_read_in_two_ways_is_refused"),
            ("tests/dialects/webhooks/hostile.rs", "an_endpoint_in_the_servers_own_network_is_refused_at_registration"),
            ("tests/dialects/webhooks/hostile.rs", "an_endpoint_that_is_not_allowed_any_more_is_never_connected_to"),
        ];
        45 "names with two faces, redirects" => [
            ("src/webhook/connect.rs", "of_several_addresses_only_the_allowed_ones_are_called"),
            ("src/webhook/client/tests.rs", "a_refused_address_is_not_connected_to"),
            ("src/webhook/client/tests.rs", "a_redirect_is_an_answer_and_is_not_followed"),
            ("tests/dialects/webhooks/hostile.rs", "a_redirect_is_a_failure_and_is_not_followed"),
        ];
        46 "what would break out of a header of a call" => [
            ("tests/dialects/webhooks/define.rs", "what_makes_no_sense_is_refused_by_name"),
            ("tests/dialects/webhooks/define.rs", "any_name_will_do"),
        ];
        47 "a webhook that causes its own next call" => [
            ("tests/dialects/webhooks/loops.rs", "a_webhook_that_causes_its_own_next_call_ends_after_sixteen"),
            ("tests/dialects/webhooks/loops.rs", "every_door_takes_over_how_far_an_event_has_come"),
            ("tests/dialects/eventhos/loops.rs", "an_action_that_calls_this_server_ends_after_sixteen_calls"),
        ];
        48 "starts that would do harm" => [
            ("tests/process/start.rs", "an_address_beyond_loopback_is_refused"),
            ("tests/process/start.rs", "a_second_server_on_the_same_directory_is_refused"),
            ("tests/process/start.rs", "a_directory_that_is_not_ours_is_refused"),
            ("tests/process/start.rs", "a_directory_of_a_newer_format_is_refused"),
            ("tests/process/start.rs", "a_directory_that_cannot_be_written_to_is_refused"),
            ("src/auth/jwt/tests.rs", "weak_secrets_and_unusable_keys_are_refused"),
        ];
    }
}

#[test]
fn every_row_is_shown_once_and_where_it_says() {
    let mut numbers: Vec<u8> = TABLE.iter().map(|row| row.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=48).collect::<Vec<u8>>());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for row in TABLE {
        let Shown::Elsewhere(tests) = row.shown else {
            continue;
        };
        for (file, test) in tests {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            let (number, input) = (row.number, row.input);
            assert!(
                text.contains(&format!("fn {test}(")),
                "row {number} ({input}): {file} has no {test}"
            );
        }
    }
}
