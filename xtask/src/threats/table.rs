//! The threat model: attacker, target, defence, and the tests that prove it. `docs/security.md` holds the same table.

use super::{Proof, Threat};

/// A test of the coordinator as a whole, in process or as a program.
const fn whole(path: &'static str) -> Proof {
    test("hierophant", "hierophant", path)
}

/// A unit test of `hierophant`.
const fn part(path: &'static str) -> Proof {
    test("hierophant", "lib", path)
}

/// A decision of the scheduler.
const fn decision(path: &'static str) -> Proof {
    test("scheduler", "lib", path)
}

/// A unit test of `contemplant`.
const fn worker(path: &'static str) -> Proof {
    test("contemplant", "lib", path)
}

/// A test of the named target, or of the library's own (`lib`).
const fn test(package: &'static str, target: &'static str, path: &'static str) -> Proof {
    Proof::Test { package, target, path }
}

/// A case of the fault suite.
const fn case(name: &'static str) -> Proof {
    Proof::Case(name)
}

const STRANGER: &str = "A stranger on the network";
const CLIENT: &str = "A client";
const CONTEMPLANT: &str = "A worker";
const UNKNOWN_CONTEMPLANT: &str = "A machine that claims to be a worker";
const PAGE: &str = "A web page in an operator's browser";
const DISK: &str = "A failing disk, or another program";
const READER: &str = "A reader of logs";

/// Every row.
#[rustfmt::skip]
pub(super) const THREATS: &[Threat] = &[
    // Untrusted bytes.
    Threat {
        who: STRANGER, reach: "arbitrary bytes on both ports",
        stop: "decoders reject malformed input with an error; no panic, no hang, no memory beyond the bytes received",
        shown_by: &[
            whole("bad_input::bytes_that_are_no_http_do_not_stop_either_port"),
            test("fuzz", "seeds", "request_body"), test("fuzz", "seeds", "signed_call"), test("fuzz", "seeds", "worker_message"),
            test("fuzz", "seeds", "headers"), test("fuzz", "seeds", "ids"),
            part("api::classify::tests::any_body_of_either_schema_is_classified_and_read_whole"),
        ],
    },
    Threat {
        who: STRANGER, reach: "path traversal, in any encoding",
        stop: "ids are parsed and never joined to a path; every route with a parameter answers 4xx",
        shown_by: &[whole("hostile::paths::no_path_leads_out_of_where_it_belongs")],
    },
    Threat {
        who: STRANGER, reach: "request smuggling: requests that a proxy and Hierophant parse differently",
        stop: "ambiguous lengths are refused; a request with both a length and chunks ends the connection",
        shown_by: &[
            whole("hostile::smuggling::a_request_of_two_lengths_or_none_that_is_certain_is_refused"),
            whole("hostile::smuggling::length_and_chunks_at_once_end_the_connection"),
        ],
    },
    Threat {
        who: STRANGER, reach: "endless headers, trailers and targets",
        stop: "`limits.max_head_bytes`, `limits.max_header_fields`",
        shown_by: &[
            whole("heads::a_head_that_is_too_large_is_answered_with_431"),
            whole("hostile::smuggling::headers_without_end_are_refused"),
            whole("hostile::streams::headers_that_go_on_for_ever_end_their_connection"),
        ],
    },
    Threat {
        who: STRANGER, reach: "HTTP/2: rapid stream resets, ping floods, malformed frames",
        stop: "`limits.http2_streams`, `limits.http2_resets`: only the offending connection is closed",
        shown_by: &[
            whole("heads::a_flood_of_reset_streams_ends_its_connection_and_disturbs_nobody_else"),
            whole("hostile::streams::a_flood_of_resets_ends_its_connection_alone"),
            whole("hostile::streams::pings_and_settings_without_end_are_answered_one_by_one"),
            whole("hostile::streams::frames_that_no_client_sends_end_their_connection"),
        ],
    },
    Threat {
        who: STRANGER, reach: "gRPC messages that announce gigabytes, or are deeply nested",
        stop: "`calls.max_message_bytes`; memory is allocated only for received bytes; compression is refused; 100 levels; limits for each field",
        shown_by: &[
            whole("clients::calls::an_oversized_message_is_refused_for_good_and_the_largest_legitimate_is_taken"),
            whole("clients::calls::compressed_messages_are_refused_so_none_can_grow"),
            whole("clients::calls::over_long_fields_are_invalid_arguments"),
            whole("hostile::bombs::a_grpc_message_that_claims_4_gib_is_refused_before_it_comes"),
            whole("hostile::bombs::protobuf_that_claims_or_nests_without_end_is_an_invalid_argument"),
        ],
    },
    Threat {
        who: STRANGER, reach: "WebSocket: malformed frames, endless messages, ping floods",
        stop: "256 KiB for a message, 200 frames per second and 10 more per job, 10 s for the handshake, 1 MiB of unread answers",
        shown_by: &[
            whole("hostile::frames::frames_that_break_the_rules_end_their_connection"),
            whole("hostile::frames::a_message_in_parts_without_end_is_cut_at_the_limit"),
            whole("hostile::frames::a_flood_of_pings_is_cut"),
            whole("hostile::frames::pings_of_someone_who_never_reads_take_no_memory"),
        ],
    },
    Threat {
        who: STRANGER, reach: "deep, long or ambiguous JSON, on `/api/v1` and the WebSocket",
        stop: "64 KiB and 256 KiB, 128 levels, duplicate keys are refused",
        shown_by: &[
            whole("hostile::json::json_bombs_on_the_api_are_refused"),
            whole("hostile::json::json_bombs_on_the_websocket_end_it"),
        ],
    },
    // Exhaustion.
    Threat {
        who: STRANGER, reach: "idle connections, or ones that send a byte at a time",
        stop: "limits on connections in total and per address, and on the time for a handshake, a head and a pause",
        shown_by: &[
            case("flood-of-connections"),
            whole("hostile::senders::five_hundred_heads_byte_by_byte_keep_nobody_waiting"),
            whole("connections::connections_beyond_the_limit_are_closed_at_once_until_others_leave"),
            whole("connections::one_address_cannot_take_all_connections"),
            whole("connections::an_idle_connection_ends_and_a_channel_connects_again"),
            whole("connections::tls_handshakes_in_flight_are_bounded_and_end_in_time"),
            whole("connections::websockets_that_do_not_say_who_they_are_are_bounded_and_end_in_time"),
            whole("heads::a_head_that_comes_slowly_is_cut"),
        ],
    },
    Threat {
        who: STRANGER, reach: "every connection, so that workers and operators find none",
        stop: "one connection in eight is reserved for their paths, and ends with the first call that is not admitted there",
        shown_by: &[whole("connections::strangers_on_every_connection_keep_out_neither_workers_nor_operators")],
    },
    Threat {
        who: STRANGER, reach: "memory, by asking over HTTP/2 and reading nothing",
        stop: "`limits.max_answer_bytes`, in total, and a quarter for each address; `limits.max_downloads`, `limits.unread_time`; large pieces are read only for peers that read",
        shown_by: &[
            case("flood-of-unread-answers"), case("flood-of-everything"),
            whole("hostile::unread::thousands_of_downloads_that_are_not_read_cost_a_bounded_budget"),
            whole("hostile::unread::thousands_of_calls_whose_answers_are_not_read_cost_a_bounded_budget"),
            whole("hostile::unread::a_peer_that_reads_nothing_has_less_time_than_one_that_has_begun"),
            whole("known_uploads::one_address_has_a_quarter_of_the_places_for_downloads"),
            part("listen::answers::tests::bytes_count_until_the_last_part_of_them_has_left"),
        ],
    },
    Threat {
        who: STRANGER, reach: "all places for uploads and the disk, by ids that everyone knows",
        stop: "a filled ticket is compared and not received, by one sender at a time; `limits.max_uploads`, a quarter for each address, counts from the first byte; bodies of unknown length are checked while they stream",
        shown_by: &[
            case("flood-of-known-uploads"),
            whole("known_uploads::an_upload_to_a_filled_ticket_is_compared_and_not_received"),
            whole("known_uploads::one_address_has_a_quarter_of_the_places_for_uploads"),
            whole("known_uploads::a_sender_that_sends_nothing_holds_no_place_and_is_cut_soon"),
            whole("known_uploads::a_body_of_unknown_length_is_refused_while_it_streams_once_it_exceeds_the_storage"),
            whole("known_uploads::a_body_of_unknown_length_is_refused_while_it_streams_once_it_exceeds_the_owners_quota"),
        ],
    },
    Threat {
        who: STRANGER, reach: "processors and disk, by calls that have a proof read each time",
        stop: "a verified digest is trusted for five minutes while size and time of the file stay; two are read at a time, none for `HEAD` and 304",
        shown_by: &[
            part("artifacts::blobs::tests::a_digest_that_was_found_sound_is_not_read_again_unless_the_blob_has_changed"),
            part("artifacts::blobs::checked::tests::a_digest_is_believed_for_minutes_and_of_the_same_file_only"),
            whole("storage::a_call_for_the_head_of_a_proof_or_for_nothing_new_reads_no_byte_of_it"),
        ],
    },
    Threat {
        who: DISK, reach: "the runtime, by a network file system that hangs",
        stop: "files are looked up on threads of their own, of which look-ups that hang take a bounded number",
        shown_by: &[part("artifacts::blobs::folder::tests::look_ups_that_hang_hold_up_no_reads")],
    },
    Threat {
        who: CLIENT, reach: "an operator's browser, by an upload that looks like a page or a script",
        stop: "artifacts are served as attachments, without sniffing, in a sandbox",
        shown_by: &[whole("storage::a_browser_does_not_take_an_upload_for_a_page")],
    },
    Threat {
        who: "An eavesdropper", reach: "an operator's token, sent by the command line without TLS",
        stop: "the command line warns before it sends a token to another machine over `http://`",
        shown_by: &[part("cli::endpoint::tests::a_token_is_readable_on_the_way_to_another_machine_without_tls")],
    },
    Threat {
        who: STRANGER, reach: "answers that are never read, calls that never end",
        stop: "`limits.stall_time`, `limits.rpc_deadline`",
        shown_by: &[
            whole("connections::a_peer_that_takes_nothing_of_an_answer_is_cut"),
            whole("connections::a_peer_that_opens_no_window_for_an_answer_is_cut"),
            whole("deadlines::a_grpc_call_that_takes_too_long_is_answered_with_a_code_that_clients_try_again"),
        ],
    },
    Threat {
        who: "An eavesdropper", reach: "inputs, proofs and tokens in transit",
        stop: "TLS on both ports; changed certificates are reloaded",
        shown_by: &[
            whole("tls::a_client_and_a_contemplant_work_under_tls_from_request_to_proof"),
            whole("tls::clients_and_contemplants_refuse_an_authority_that_they_do_not_know"),
            whole("certificates::certificates_swapped_on_disk_are_in_use_within_a_minute_without_a_dropped_request"),
        ],
    },
    Threat {
        who: STRANGER, reach: "a flood of unsigned calls",
        stop: "refused before any look-up or write",
        shown_by: &[
            case("flood-of-calls"), case("flood-of-everything"),
            whole("bad_input::missing_and_wrong_signatures_are_unauthenticated"),
        ],
    },
    Threat {
        who: CLIENT, reach: "endless uploads, or too many at once",
        stop: "`limits.min_upload_rate`, `limits.max_uploads`; partial uploads are removed",
        shown_by: &[
            case("flood-of-slow-uploads"),
            whole("hostile::senders::a_hundred_senders_of_ten_bytes_a_second_are_cut_and_leave_nothing"),
            whole("hostile::senders::a_slow_sender_above_the_floor_is_heard_to_its_end"),
            whole("hostile::senders::more_uploads_than_allowed_are_told_to_try_again_and_keep_no_proof_out"),
            whole("bad_input::an_upload_that_breaks_off_leaves_no_file"),
        ],
    },
    Threat {
        who: CLIENT, reach: "disk exhaustion, by large or many uploads",
        stop: "`max_artifact_bytes`, `storage.min_free_bytes`, `storage.max_bytes`; proofs of accepted jobs still fit",
        shown_by: &[
            whole("bad_input::an_oversized_upload_is_refused_whether_announced_or_not"),
            whole("disk_budget::a_low_disk_stops_new_work_and_nothing_else"),
            whole("disk_budget::the_quota_counts_uploads_and_proofs_over_restarts"),
        ],
    },
    Threat {
        who: CLIENT, reach: "growth of the database, and ever longer sweeps, by very many requests",
        stop: "a sweep looks only at what is due; `retention.records` archives and deletes old records",
        shown_by: &[
            whole("stores::on_sqlite::a_sweep_looks_only_at_what_is_due"),
            whole("stores::on_postgres::a_sweep_looks_only_at_what_is_due"),
            whole("stores::on_sqlite::old_records_are_archived_and_deleted"),
            whole("stores::on_postgres::old_records_are_archived_and_deleted"),
        ],
    },
    Threat {
        who: CLIENT, reach: "memory exhaustion, by large uploads",
        stop: "uploads and downloads are streamed",
        shown_by: &[whole("storage::a_gibibyte_of_input_grows_memory_by_less_than_32_mib")],
    },
    Threat {
        who: CLIENT, reach: "queue exhaustion",
        stop: "`proofs.max_waiting`, with reserves for clients and for addresses with little in the queue; jobs of different \
               clients are dispatched in turn, and a client has one turn for all its addresses and tokens",
        shown_by: &[
            test("scheduler", "lib", "proofs::core::tests::requests::the_addresses_and_tokens_of_a_client_share_its_turns"),
            test("scheduler", "lib", "proofs::core::tests::requests::two_addresses_cannot_fill_the_queue_for_all_others"),
            test("scheduler", "lib", "proofs::core::tests::requests::strangers_leave_a_quarter_of_the_queue_to_configured_clients"),
            whole("pitfalls::pitfall_13_a_full_queue_is_told_by_a_code_that_clients_retry"),
        ],
    },
    Threat {
        who: CLIENT, reach: "programs and inputs that decompress to terabytes",
        stop: "Hierophant decompresses twelve bytes, a worker up to its limit",
        shown_by: &[
            whole("hostile::bombs::a_program_that_unpacks_to_a_terabyte_costs_nothing"),
            worker("artifact::tests::a_compression_bomb_stops_at_the_limit"),
            test("fuzz", "seeds", "program"), test("fuzz", "seeds", "unpacked"),
        ],
    },
    Threat {
        who: CLIENT, reach: "every worker in turn, by proofs in an input that are wrong or malformed",
        stop: "a worker verifies them before it proves, and the program's claims unless it writes its own instructions; a wrong one ends the request",
        shown_by: &[
            worker("executor::execute::input_proofs::tests::a_wrong_proof_is_the_request_s_fault_and_named"),
            test("contemplant", "contemplant", "aggregation::a_wrong_proof_is_refused_as_the_request_s_fault"),
            test("contemplant", "contemplant", "aggregation::claims_of_other_proofs_than_those_in_the_input_are_refused"),
        ],
    },
    Threat {
        who: "An operator's tools", reach: "event streams",
        stop: "`limits.max_event_streams`; slow listeners skip events",
        shown_by: &[whole("events::too_many_listeners_are_turned_away_and_a_stop_ends_the_streams")],
    },
    // Authorization.
    Threat {
        who: STRANGER, reach: "requests in another client's name",
        stop: "signatures over the raw bytes, in every form that SDKs send; `auth = \"allowlist\"`",
        shown_by: &[
            part("api::auth::tests::every_recovery_byte_that_an_sdk_sends_gives_the_signer"),
            part("api::auth::tests::each_mode_admits_the_signers_that_it_should"),
            whole("bad_input::strangers_are_denied_by_an_allowlist_and_members_are_not"),
            whole("pitfalls::pitfall_05_signatures_cover_the_raw_bytes_with_fields_that_we_do_not_know"),
        ],
    },
    Threat {
        who: STRANGER, reach: "replay of a signed call",
        stop: "it joins the first request: signed calls are idempotent",
        shown_by: &[whole("pitfalls::pitfall_12_a_call_retried_with_a_new_nonce_joins_the_first_request")],
    },
    Threat {
        who: CLIENT, reach: "another client's uploads, by a program that commits its input to the public values",
        stop: "requests and programs use uploads of their own client only; others are answered like unknown ids",
        shown_by: &[
            whole("clients::tenants::another_clients_upload_is_answered_like_an_unknown_one"),
            whole("clients::tenants::addresses_of_one_client_share_uploads_and_cancellations"),
            whole("clients::tenants::details_name_the_callers_own_upload_also_of_a_shared_job"),
        ],
    },
    Threat {
        who: CLIENT, reach: "another client's requests: state, details, lists, notifications",
        stop: "a token that is bound to a client reads and lists that client's requests only; private inputs are not named; webhooks by client",
        shown_by: &[
            whole("clients::tenants::another_clients_request_is_unknown_to_the_bearer_of_a_bound_token"),
            whole("clients::tenants::a_token_of_no_client_reads_what_was_requested_with_such_tokens"),
            whole("clients::tenants::strangers_see_no_private_input_and_nothing_of_an_execution"),
            part("webhooks::tests::a_receiver_of_some_clients_hears_of_no_others"),
        ],
    },
    Threat {
        who: CLIENT, reach: "quotas and blame of a token, evaded with fresh keys or keys of another client",
        stop: "quotas count by client; a key of another client is refused; each request stores its token",
        shown_by: &[
            whole("clients::tenants::fresh_keys_share_the_quotas_of_their_token"),
            whole("clients::tenants::a_key_of_another_client_signs_nothing_under_a_bound_token"),
            whole("clients::tenants::an_operator_sees_who_asked_also_after_a_restart"),
        ],
    },
    Threat {
        who: STRANGER, reach: "a client's stolen key or token, used from elsewhere",
        stop: "`networks` of a client, `calls.grpc_networks`, `calls.artifact_networks`",
        shown_by: &[
            whole("clients::networks::a_client_with_networks_is_served_from_these_only"),
            whole("clients::networks::a_port_with_networks_answers_others_with_a_refusal"),
        ],
    },
    Threat {
        who: CLIENT, reach: "another client's program id, taken with a wrong key or a wrong ELF",
        stop: "the key must hash to the id; a worker that cannot use the ELF refutes it, an accepted proof confirms it; operators remove and reassign",
        shown_by: &[
            whole("clients::programs::a_key_of_another_program_registers_nothing"),
            whole("clients::programs::a_program_that_a_worker_refutes_may_be_registered_by_any_client"),
            whole("clients::programs::the_first_client_keeps_a_program_and_the_answer_says_so"),
            whole("clients::programs::an_operator_removes_and_reassigns_programs_and_the_audit_has_both"),
            test("scheduler", "lib", "proofs::core::tests::disputes::an_accepted_proof_confirms_a_program_and_a_workers_word_refutes_it"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "a valid proof of another input than the client's",
        stop: "checked against the digest of the public values, if the client states one; the worker gets a strike once another contradicts it",
        shown_by: &[
            whole("clients::statements::a_proof_of_other_public_values_than_stated_reaches_no_client"),
            test("scheduler", "lib", "proofs::core::tests::disputes::a_worker_that_proves_other_public_values_is_at_fault_once_another_proves_the_stated_ones"),
        ],
    },
    Threat {
        who: CLIENT, reach: "strikes of honest workers, or other clients' jobs, by stating wrong public values",
        stop: "no strike before two workers disagree; requests that state different digests share no job",
        shown_by: &[
            test("scheduler", "lib", "proofs::core::tests::disputes::a_request_is_at_fault_once_two_workers_agree_on_other_public_values"),
            test("scheduler", "lib", "proofs::core::tests::disputes::a_wrong_statement_affects_no_request_that_states_another_digest_or_none"),
            whole("clients::statements::a_statement_that_two_workers_contradict_fails_with_its_own_error"),
        ],
    },
    Threat {
        who: CLIENT, reach: "cancelling other clients' requests",
        stop: "only the client of the requester cancels; for others the request is unknown",
        shown_by: &[
            whole("bad_input::cancelling_what_is_not_there_not_yours_or_over_is_refused"),
            whole("clients::quotas::somebody_elses_signature_cancels_nothing"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "a proof that several workers make, by a false result of a task",
        stop: "workers verify what they join, Hierophant what they report and the parts of a rejected proof; the false result is made again, and its maker gets a strike",
        shown_by: &[
            test("scheduler", "lib", "proofs::core::tests::doubts::a_result_that_is_false_is_made_again_and_its_maker_is_blamed"),
            test("scheduler", "lib", "proofs::core::tests::doubts::a_false_part_of_a_rejected_proof_is_made_again_and_its_maker_is_blamed"),
            part("verify::core_part::tests::a_shard_is_right_under_its_own_range_and_program_alone"),
            part("verify::core_part::tests::a_recursive_proof_is_right_under_its_own_range_alone"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "strikes of honest workers, by reporting their results as false",
        stop: "Hierophant verifies the result itself; if it is right, the worker that reported it gets the strike",
        shown_by: &[test("scheduler", "lib", "proofs::core::tests::doubts::a_result_that_is_right_costs_the_one_who_accused_it")],
    },
    Threat {
        who: CLIENT, reach: "other clients' share of workers, disk and database",
        stop: "`[quotas]` per client: requests, cycles, bytes, tickets, programs; exact, and preserved over restarts",
        shown_by: &[
            whole("clients::quotas::requests_over_a_minutes_quota_are_told_to_come_again_and_replays_are_not_counted"),
            whole("clients::quotas::open_requests_over_the_quota_are_told_to_come_again_until_one_has_ended"),
            whole("clients::quotas::calls_at_once_cannot_both_take_the_last_place"),
            whole("clients::quotas::cycles_over_a_days_quota_are_refused_for_good_and_a_restart_forgives_nobody"),
            whole("clients::tickets::bytes_over_the_quota_are_refused_announced_or_not_and_then_no_ticket_is_given"),
            whole("clients::tickets::uploads_at_once_cannot_both_take_the_last_bytes"),
            whole("clients::tickets::open_tickets_of_an_address_are_bounded_and_an_upload_makes_room"),
        ],
    },
    Threat {
        who: CLIENT, reach: "the scheduler's time, by a queue of jobs that no free worker can take, or from very many addresses",
        stop: "assignment looks only at jobs that a free worker can take, in an order that is kept: neither the length of the queue nor the number of requesters or workers matters",
        shown_by: &[
            test("scheduler", "lib", "proofs::core::tests::assignment::jobs_are_assigned_as_by_a_walk_over_all_of_them"),
            test("scheduler", "lib", "proofs::core::tests::effort::an_event_looks_at_as_few_jobs_and_workers_in_a_crowd_as_in_a_small_network"),
        ],
    },
    Threat {
        who: CLIENT, reach: "one transaction of any size, by very many requests that expire together or join one job",
        stop: "an event has about 500 effects, and what is left follows; a start in between continues",
        shown_by: &[
            test("scheduler", "lib", "proofs::core::tests::bounded::many_requests_that_expire_at_once_end_step_by_step_and_none_is_proved_meanwhile"),
            test("scheduler", "lib", "proofs::core::tests::bounded::a_start_ends_many_requests_past_their_deadline_step_by_step_also_after_a_crash"),
            test("scheduler", "lib", "proofs::core::tests::bounded::a_crash_within_the_end_of_a_job_changes_nothing_of_it"),
        ],
    },
    Threat {
        who: STRANGER, reach: "database exhaustion, by unused tickets or a flood of calls",
        stop: "`quotas.strangers_tickets`, `quotas.strangers_requests_per_minute`, `calls.per_ip_per_second`",
        shown_by: &[
            test("scheduler", "lib", "proofs::core::tests::requests::all_strangers_together_have_a_rate_and_configured_clients_have_their_own"),
            test("scheduler", "lib", "proofs::core::tests::requests::requests_that_are_answered_at_once_count_like_open_ones_for_a_minute"),
            part("listen::pace::tests::a_flood_from_one_address_is_refused_and_then_waits"),
            part("listen::pace::tests::a_proposer_with_a_hundred_open_requests_never_meets_the_default_rate"),
            whole("clients::tickets::a_flood_of_tickets_stops_and_leaves_room_for_configured_clients"),
            whole("clients::tickets::tickets_nobody_uploads_to_are_forgotten_and_make_room"),
            whole("clients::calls::calls_from_one_ip_address_beyond_its_rate_are_told_to_come_again"),
        ],
    },
    Threat {
        who: STRANGER, reach: "other clients' polls and the scheduler, by lists that look at many requests",
        stop: "lists have readers of their own, a bounded queue, a time limit that interrupts the statement, and bounds on \
               requests examined and bytes returned; the scheduler waits for no read; lists count for ten in the rate of an \
               address",
        shown_by: &[
            case("flood-of-lists"),
            part("listen::pace::tests::lists_and_calls_without_patience_count_tenfold"),
            whole("list_floods::a_flood_of_lists_is_refused_in_part_and_status_calls_do_not_wait_for_it"),
            whole("on_postgres::a_read_that_hangs_holds_up_its_caller_and_not_the_scheduler"),
            whole("stores::postgres_only::a_list_that_takes_too_long_is_interrupted_and_point_reads_do_not_wait_for_it"),
            test("store", "lib", "sqlite::readers::tests::a_list_that_takes_too_long_is_interrupted_and_its_connection_reads_on"),
            test("store", "lib", "sqlite::readers::tests::a_list_whose_caller_hangs_up_ends_long_before_its_time"),
            part("api::grpc::list::tests::a_page_is_at_most_ten_thousand_requests_away"),
        ],
    },
    Threat {
        who: STRANGER, reach: "the scheduler and the database's writer, by `/ready`, calls that are hung up on, and cancellations of \
              unknown requests",
        stop: "one readiness check serves all callers and runs to its end; unknown and ended requests are answered from the store \
               without the scheduler; the connections of an address beyond its rate are read later, and a call that is reset \
               counts for ten",
        shown_by: &[
            case("flood-of-lists"),
            part("listen::pace::tests::lists_and_calls_without_patience_count_tenfold"),
            whole("connections::an_address_beyond_its_rate_is_read_later_and_others_at_once"),
            whole("connections::uploads_and_workers_of_an_address_beyond_its_rate_are_read_at_once"),
            whole("list_floods::many_callers_of_the_readiness_page_share_one_check_and_may_hang_up"),
            whole("stores::postgres_only::a_ping_whose_caller_hangs_up_leaves_connection_and_lock_alone"),
            whole("on_postgres::a_commit_that_hangs_delays_neither_the_refusal_of_unknown_ids_nor_the_counters"),
        ],
    },
    Threat {
        who: STRANGER, reach: "other clients' requests and proofs",
        stop: "ids are random; lists need a token (`calls.lists`) and show others' requests without id, requester, program, \
               worker and error; `auth = \"token\"` requires a token for every call",
        shown_by: &[
            whole("clients::tickets::ids_that_open_something_are_random_in_every_byte"),
            whole("clients::tokens::a_list_tells_strangers_nothing_about_whose_requests_they_are"),
            whole("clients::tokens::lists_need_a_client_token_where_no_other_call_does"),
            whole("clients::tokens::without_a_valid_client_token_every_call_is_refused_also_reads"),
            whole("clients::tokens::a_client_token_lets_every_call_in_until_it_is_revoked"),
            whole("clients::tokens::a_token_does_not_stand_in_for_a_signature"),
        ],
    },
    Threat {
        who: CLIENT, reach: "other clients' private inputs",
        stop: "no client URL serves them; only the worker that holds the attempt's lease can read them, while it lasts",
        shown_by: &[whole("bad_input::a_private_input_is_read_by_the_leased_worker_only")],
    },
    Threat {
        who: CLIENT, reach: "overwriting other clients' uploads",
        stop: "a ticket accepts one upload, which cannot be replaced",
        shown_by: &[whole("bad_input::uploads_need_a_ticket_and_a_second_one_changes_nothing")],
    },
    Threat {
        who: CLIENT, reach: "a program that crashes its host",
        stop: "limits apply, panics are caught, and the failure is not counted against the worker",
        shown_by: &[
            whole("bad_input::a_failing_guest_is_unexecutable_with_its_cause"),
            worker("executor::execute::tests::an_input_survives_and_anything_else_is_refused_without_a_panic"),
        ],
    },
    Threat {
        who: UNKNOWN_CONTEMPLANT, reach: "jobs, with their private inputs",
        stop: "its own token or `worker_token`, compared in constant time; without a token only a worker that presents the secret in Hierophant's data folder is accepted",
        shown_by: &[
            whole("tokens::local::a_stranger_that_arrives_from_loopback_needs_the_secret_of_the_data_folder"),
            whole("tokens::local::the_secret_of_an_earlier_start_is_worth_nothing"),
            whole("tokens::local::a_worker_behind_a_proxy_needs_a_token_even_if_it_knows_the_secret"),
            whole("tokens::local::the_key_of_a_local_worker_opens_nothing_through_a_proxy"),
            whole("tokens::workers::an_unknown_worker_gets_nothing"),
            whole("tokens::workers::a_shared_token_that_was_changed_by_a_restart_admits_nobody"),
            whole("tokens::workers::an_id_that_another_token_has_connected_is_not_taken_over"),
            whole("bad_input::garbage_instead_of_a_handshake_is_refused"),
        ],
    },
    Threat {
        who: PAGE, reach: "jobs and inputs, as a worker on a browser's machine",
        stop: "`/ws` and `/leases` refuse every call with `Origin` or `Sec-Fetch-Site`; no page can read the secret of the data folder",
        shown_by: &[whole("tokens::local::a_web_page_reaches_neither_the_socket_nor_a_lease")],
    },
    Threat {
        who: UNKNOWN_CONTEMPLANT, reach: "jobs beside the owner of a stolen token, and the whole queue by claiming many slots",
        stop: "`worker_registry.max_workers_per_token`, `worker_registry.max_slots`; refusals and changes of address are logged",
        shown_by: &[
            whole("tokens::local::a_token_admits_one_machine_at_a_time_and_no_worker_all_slots"),
            test("scheduler", "lib", "registry::core::tests::an_own_token_admits_a_limited_number_of_workers_and_a_shared_one_any"),
            test("scheduler", "lib", "registry::core::tests::a_worker_that_appears_at_another_address_is_noticed"),
        ],
    },
    Threat {
        who: "A malicious Hierophant, from a worker's view", reach: "a file of the worker's machine, as the local secret",
        stop: "a worker reads one name and form of file, and only for a Hierophant at a loopback address",
        shown_by: &[
            test("network-lib", "lib", "local_secret::tests::no_other_file_is_presented"),
            test("contemplant", "contemplant", "refusal::no_other_file_is_sent_and_the_refusal_says_why"),
        ],
    },
    Threat {
        who: UNKNOWN_CONTEMPLANT, reach: "the WebSocket and the leases, with a stolen token",
        stop: "`tls.client_ca`: peers without a certificate of that authority are refused",
        shown_by: &[
            whole("mutual_tls::a_contemplant_without_a_certificate_gets_nothing_where_one_is_required"),
            whole("mutual_tls::certificates_of_another_authority_and_expired_ones_are_refused"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "an invalid proof",
        stop: "SP1's verifier, over program, mode, version and public values",
        shown_by: &[
            whole("verify::wrong_proofs_never_reach_a_client_and_the_right_one_does"),
            whole("verify::hostile_changes_of_a_real_proof_never_pass_and_never_stop_the_checker"),
            whole("verify::mock_proofs_pass_only_from_mock_backends_and_only_in_mock_mode"),
            test("fuzz", "seeds", "proof"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "the coordinator, by a proof that takes memory or time without bound, or crashes its verifier",
        stop: "proofs are limited in size by their kind, and decoded and verified in a process of their own with limits of memory and time; a check that ends Hierophant itself is repeated once, without any other",
        shown_by: &[
            whole("verify::contained::a_proof_that_was_being_checked_when_hierophant_ended_is_checked_without_others"),
            whole("verify::contained::the_end_of_a_checking_process_from_outside_is_no_fault_of_a_worker"),
            whole("verify::contained::a_proof_that_a_hanging_disk_does_not_hand_over_is_no_fault_of_a_worker"),
            whole("verify::contained::a_proof_that_takes_too_much_memory_ends_its_checking_process_and_nothing_else"),
            whole("verify::contained::a_check_that_takes_too_long_is_ended"),
            whole("verify::contained::a_check_whose_process_is_killed_is_its_workers_failure_if_it_is_killed_alone_too"),
            whole("verify::contained::an_endless_reply_costs_no_memory"),
            whole("verify::contained::a_checking_process_has_no_variables_and_no_sockets"),
            whole("verify::contained::a_proof_that_ended_hierophant_twice_is_not_checked_a_third_time"),
            whole("handing_in::the_size_of_a_proof_is_limited_by_its_kind"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "the disk, by one proof after another under one lease",
        stop: "one upload and one stored proof for each lease, the replaced one is removed at once; a reserve that proofs leave to the database",
        shown_by: &[
            whole("handing_in::a_replaced_proof_is_removed_at_once"),
            whole("handing_in::a_later_upload_of_a_proof_ends_the_earlier_one"),
            whole("handing_in::a_proof_leaves_space_on_the_disk_for_the_database"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "attempts of other workers",
        stop: "messages about a lease are accepted only from its holder, and only while it lasts",
        shown_by: &[whole("bad_input::words_about_leases_that_are_not_held_change_nothing")],
    },
    Threat {
        who: CONTEMPLANT, reach: "programs, inputs and proofs of other workers' attempts, by URL",
        stop: "the URL requires the access key of the lease's holder, and works only while the attempt lasts",
        shown_by: &[
            whole("tokens::links::a_stolen_link_of_another_attempt_gets_403"),
            whole("tokens::links::an_expired_link_gets_403_and_looks_like_one_that_never_was"),
            whole("tokens::links::a_link_expires_by_itself_when_its_attempt_takes_too_long"),
            whole("tokens::links::a_link_without_a_key_or_with_a_made_up_one_gets_401"),
            whole("tokens::links::each_welcome_brings_another_key_and_ends_the_one_before"),
        ],
    },
    Threat {
        who: "A worker that is no longer trusted", reach: "its current jobs, and new ones",
        stop: "revoking its token closes its connection and its transfers immediately",
        shown_by: &[
            whole("tokens::workers::a_revoked_worker_is_cut_within_five_seconds_and_cannot_return"),
            whole("tokens::workers::a_revoked_worker_is_cut_in_the_middle_of_a_download_and_of_an_upload"),
            whole("tokens::workers::tokens_and_revocations_last_over_a_restart"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "files, commands, addresses and terminals, by the text that it reports about itself",
        stop: "the text is truncated, stripped of control characters, and only displayed",
        shown_by: &[
            whole("tokens::words::paths_and_commands_in_a_contemplants_words_are_only_shown"),
            whole("tokens::words::addresses_in_a_contemplants_words_are_never_called"),
            whole("tokens::words::control_characters_of_a_contemplant_reach_no_terminal"),
            whole("tokens::words::huge_words_of_a_contemplant_are_cut_short"),
            whole("tokens::words::a_lease_in_a_url_is_an_id_and_never_a_path"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "the coordinator: malformed messages, floods, long frames",
        stop: "it is disconnected, and its job is assigned to another worker",
        shown_by: &[
            whole("bad_input::a_worker_that_sends_garbage_is_cut_off_and_its_job_goes_elsewhere"),
            whole("bad_input::a_worker_that_floods_is_cut_off"),
            whole("bad_input::a_frame_of_10_mb_cuts_the_worker_off_and_nothing_else"),
            whole("worker_words::a_worker_that_lists_more_attempts_than_it_can_hold_is_cut_off"),
            whole("worker_words::long_frames_without_end_are_cut_off_also_below_the_rate_of_frames"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "the scheduler's time and memory, by heartbeats and reports within the limits",
        stop: "only the latest heartbeat and progress of a connection wait; 64 other messages do, then the socket is not read",
        shown_by: &[
            whole("hostile::frames::heartbeats_full_of_made_up_attempts_stall_nobody"),
            part("session::inbox::tests::of_many_heartbeats_the_latest_waits_and_is_announced_once"),
            part("session::inbox::tests::progress_waits_for_as_many_attempts_as_a_worker_can_have"),
            part("session::inbox::tests::a_message_waits_for_a_turn_and_meanwhile_the_worker_is_not_silent"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "the scheduler, and other clients' jobs, by extreme numbers",
        stop: "numbers are bounded where they enter and summed saturating; a report of exhausted memory counts for an hour; executions beyond the request's limits fail",
        shown_by: &[
            whole("worker_words::the_largest_numbers_that_a_worker_can_send_end_nothing_and_strand_no_job"),
            decision("proofs::core::tests::numbers::no_number_of_a_worker_stops_the_scheduler_or_strands_a_job"),
            decision("proofs::core::tests::numbers::demands_that_add_up_to_more_than_a_number_can_hold_are_only_large"),
            decision("proofs::core::tests::out_of_memory::a_workers_word_about_its_memory_keeps_a_job_from_others_for_an_hour_at_most"),
            decision("proofs::core::tests::attempts::an_execution_beyond_the_requests_limits_is_its_workers_failure_and_charged_to_no_client"),
        ],
    },
    Threat {
        who: CONTEMPLANT, reach: "slots and attempts of other workers, by listing attempts that it does not hold",
        stop: "what it lists occupies only its own slots, and is cancelled",
        shown_by: &[decision("proofs::core::tests::late::what_a_worker_makes_up_occupies_its_own_slots_and_nothing_else")],
    },
    Threat {
        who: "A machine with a full disk or a broken link", reach: "the queue: it is always free and fails every job",
        stop: "it rests, up to two minutes after each failure in a row, and its obstacle is shown",
        shown_by: &[
            decision("proofs::core::tests::rests::a_machine_with_a_full_disk_in_a_busy_fleet_gets_an_attempt_a_minute_at_most"),
            whole("worker_words::a_worker_whose_infrastructure_keeps_failing_rests_and_shows_why"),
        ],
    },
    Threat {
        who: "Two machines with copies of one data folder", reach: "each other's attempts, by replacing each other's connection",
        stop: "the second one is refused after five replacements within a minute",
        shown_by: &[decision("registry::core::tests::two_machines_with_one_id_do_not_replace_each_other_without_end")],
    },
    Threat {
        who: "A malicious Hierophant, from a worker's view", reach: "arbitrary bytes and messages",
        stop: "unknown messages are ignored; sizes and digests are checked",
        shown_by: &[
            test("fuzz", "seeds", "coordinator_message"),
            test("contemplant", "contemplant", "job::a_message_from_the_future_is_passed_over"),
        ],
    },
    Threat {
        who: STRANGER, reach: "the views and actions of operators",
        stop: "every route requires a token with role read, act or admin, except from the same machine; invalid tokens are rate-limited, valid ones never",
        shown_by: &[
            whole("operators::routes::a_stranger_without_a_token_gets_401_on_every_route"),
            whole("operators::routes::a_wrong_token_gets_401_on_every_route_also_on_this_machine"),
            whole("operators::routes::tokens_of_clients_and_contemplants_open_no_route"),
            whole("operators::places::strangers_learn_nothing_but_whether_it_runs"),
            whole("operators::places::guessing_tokens_is_slowed_for_each_address_and_locks_out_no_valid_one"),
            whole("operators::audit::neither_strangers_nor_readers_can_fill_the_log"),
        ],
    },
    Threat {
        who: STRANGER, reach: "operators and their listener, by the public port or its connections",
        stop: "`operators.admin_address` and a Unix socket of mode 0600 with connections of their own; `operators.on_public_port = false` removes operators from the public port",
        shown_by: &[
            whole("operators::listeners::the_admin_listener_serves_operators_and_the_public_port_need_not"),
            whole("operators::listeners::connections_of_strangers_leave_operators_their_places"),
        ],
    },
    Threat {
        who: STRANGER, reach: "guesses of tokens, signatures and allowlisted addresses, unnoticed",
        stop: "each failed authentication is a log line with address, kind and path, and a failed sign-in an audit entry, both at a bounded rate",
        shown_by: &[
            whole("log_lines::failed_authentication_says_from_where_and_why_at_a_bounded_rate"),
            part("denials::tests::lines_are_limited_for_each_address_and_for_all_together"),
            whole("operators::audit::neither_strangers_nor_readers_can_fill_the_log"),
        ],
    },
    Threat {
        who: "A holder of a stolen token", reach: "access that lasts",
        stop: "tokens expire; one of role act creates no tokens of roles act and admin; the last use of each token is shown; an expired token opens nothing to callers without one",
        shown_by: &[
            whole("tokens::expiry::an_expired_token_admits_nobody_and_its_worker_is_disconnected"),
            whole("tokens::expiry::a_token_of_role_act_makes_none_of_operators_and_one_of_role_admin_does"),
            whole("tokens::expiry::the_last_use_of_a_token_is_shown_and_survives_a_restart"),
            part("tokens::tests::uses_are_stored_together_and_only_if_there_are_any"),
        ],
    },
    Threat {
        who: "An operator with role read", reach: "actions",
        stop: "every call other than GET requires a token with role act; revoking a token ends its sessions and streams",
        shown_by: &[
            whole("operators::routes::who_may_read_looks_at_every_route_and_acts_on_none"),
            whole("operators::sessions::who_has_signed_in_to_read_cannot_act"),
            whole("operators::places::a_revoked_token_is_worth_nothing_from_then_on"),
            whole("operators::sessions::a_revoked_token_loses_its_sessions_at_once_and_what_they_listen_to"),
        ],
    },
    Threat {
        who: "Another user of Hierophant's machine", reach: "the actions of operators",
        stop: "`operators.require_token`; the Unix socket admits only the user that runs Hierophant, and root",
        shown_by: &[
            whole("operators::places::where_a_token_is_required_programs_on_this_machine_need_one_too"),
            whole("operators::listeners::the_socket_admits_its_user_without_a_token_where_one_is_required"),
        ],
    },
    Threat {
        who: "Another user of Hierophant's machine", reach: "inputs, ids that grant access, secrets of the configuration",
        stop: "folders of mode 0700 and files of mode 0600, also those of earlier versions; a readable configuration with secrets is logged",
        shown_by: &[
            whole("startup::no_other_user_of_the_machine_can_read_the_data_folder"),
            part("config::secrets::tests::a_file_with_secrets_that_others_can_read_is_found"),
            test("network-lib", "lib", "config::tests::a_template_never_overwrites_a_file"),
        ],
    },
    Threat {
        who: PAGE, reach: "`/api/v1` and the dashboard, by a loopback address or a session cookie",
        stop: "`Host` and `Origin` must be Hierophant's own; the cookie is `HttpOnly` and `SameSite=Strict`; the content security policy forbids foreign scripts",
        shown_by: &[
            whole("operators::places::a_page_of_another_site_can_have_nothing_done_by_a_browser_on_this_machine"),
            whole("operators::places::a_proxied_call_or_one_by_a_foreign_name_needs_a_token_also_on_this_machine"),
            whole("operators::sessions::a_session_acts_only_from_hierophants_own_page"),
            whole("operators::sessions::a_page_of_another_site_cannot_sign_anybody_in"),
            whole("operators::sessions::signing_in_sets_a_cookie_that_neither_scripts_nor_other_sites_can_use"),
        ],
    },
    Threat {
        who: "An operator", reach: "actions without a trace",
        stop: "the audit log: caller, action, time, address and outcome, as a log line and a row in the store; the row is stored before the action, which is refused otherwise",
        shown_by: &[
            whole("acts::the_log_says_who_did_what_from_where_and_how_it_went"),
            whole("operators::audit::every_action_is_written_down_with_the_tokens_name_and_no_secret"),
            whole("operators::audit::an_action_is_written_down_also_if_its_caller_has_hung_up"),
            whole("operators::audit::reading_a_proof_is_written_down"),
            whole("operators::interrupted::a_command_that_cannot_be_written_down_is_not_executed"),
            whole("operators::interrupted::an_entry_stays_if_the_store_fails_after_the_command"),
            whole("operators::interrupted::an_entry_stays_if_the_process_is_killed_during_the_command"),
        ],
    },
    Threat {
        who: DISK, reach: "all work, by a folder that is not mounted and looks as if its files were lost",
        stop: "a missing file counts as lost only while the folder has its mark; a start without the mark is refused",
        shown_by: &[
            whole("startup::an_unmounted_artifacts_folder_refuses_the_start_and_loses_nothing"),
            whole("startup::a_folder_that_is_unmounted_at_run_time_is_away_and_not_lost"),
            part("artifacts::mark::tests::a_missing_mark_counts_only_if_most_artifacts_are_missing_too"),
            case("artifacts-unmounted"),
        ],
    },
    Threat {
        who: CLIENT, reach: "notifications of other clients' requests, by ending requests of its own without end",
        stop: "a share of the queue for each client, and one for all strangers together; several deliveries at a time, a schedule for each notification",
        shown_by: &[
            part("webhooks::tests::the_notices_about_one_requester_take_no_place_of_anothers"),
            part("webhooks::tests::the_addresses_and_tokens_of_a_client_share_its_places"),
            part("webhooks::tests::any_number_of_fresh_keys_leaves_the_places_of_named_clients"),
            whole("webhooks::a_notification_that_is_never_accepted_delays_no_other"),
            whole("webhooks::a_slow_receiver_gets_several_notifications_at_a_time"),
        ],
    },
    Threat {
        who: "A receiver of webhooks, or an impostor", reach: "outcomes of requests",
        stop: "notifications are signed (Standard Webhooks); a receiver that is down delays no other",
        shown_by: &[
            whole("webhooks::ends_are_told_signed_and_only_those_that_were_asked_for"),
            whole("webhooks::a_receiver_that_is_down_hears_of_it_after_a_restart_and_hinders_nobody"),
        ],
    },
    // At rest.
    Threat {
        who: DISK, reach: "stored records and files",
        stop: "corruption is detected before data is served; a damaged or foreign database is refused",
        shown_by: &[
            whole("storage::a_finished_proof_that_was_damaged_on_the_disk_is_never_served"),
            whole("stores::sqlite_only::a_file_with_overwritten_pages_is_refused"),
            whole("stores::sqlite_only::a_file_is_checked_only_after_an_unclean_stop"),
            whole("stores::sqlite_only::a_running_hierophant_ends_when_its_database_is_found_damaged"),
            test("fuzz", "seeds", "stored_record"),
        ],
    },
    Threat {
        who: DISK, reach: "confirmed transactions: a restored backup, or a standby that had not received them",
        stop: "transactions are numbered; a database that is behind is not written to, and the process ends",
        shown_by: &[
            whole("stores::postgres_only::a_database_that_lost_confirmed_transactions_is_not_written_to"),
            whole("stores::postgres_only::a_commit_whose_answer_was_lost_counts_once"),
        ],
    },
    Threat {
        who: READER, reach: "tokens, ids that grant access, inputs, public values",
        stop: "omitted from logs, or abbreviated",
        shown_by: &[
            whole("tokens::workers::a_secret_is_in_no_log_line_and_in_no_row_of_the_database"),
            whole("hostile::logs::no_secret_and_no_id_that_opens_something_is_in_the_log"),
            test("network-lib", "lib", "logging::tests::public_values_stay_out_of_the_log_unless_a_crate_is_asked_by_name"),
            worker("config::tests::the_token_is_not_printed"),
        ],
    },
    Threat {
        who: "An attacker who takes over a program", reach: "the machine that it runs on",
        stop: "no `unsafe` code in the workspace; unprivileged containers with read-only file systems",
        shown_by: &[
            test("xtask", "containers", "unsafe_code_is_forbidden_in_every_crate"),
            test("xtask", "containers", "containers_run_without_rights"),
        ],
    },
    Threat {
        who: "A mirror, or an attacker on the network", reach: "code on a worker, by another archive of the GPU server",
        stop: "its SHA-256 is verified before anything is unpacked; one file of it is used, under a fixed name",
        shown_by: &[
            test("contemplant", "contemplant", "prover_fetch::a_wrong_digest_is_refused_with_the_one_that_was_found"),
            test("contemplant", "contemplant", "prover_fetch::a_folder_is_created_and_other_members_are_not_unpacked"),
            test("contemplant", "contemplant", "prover_fetch::without_a_digest_nothing_is_fetched"),
        ],
    },
    Threat {
        who: CLIENT, reach: "proofs by a verifying key of another program",
        stop: "a key must hash to the program id that it is registered for",
        shown_by: &[
            whole("verify::a_key_that_is_none_is_the_requests_fault_and_a_missing_proof_is_nobodys"),
            test("fuzz", "seeds", "verifying_key"),
        ],
    },
    Threat {
        who: "The author of a configuration file", reach: "misspelt or contradictory keys",
        stop: "Hierophant refuses to start and lists all faults; it never replaces an invalid value by a default",
        shown_by: &[
            part("config::tests::every_fault_is_found_at_once"),
            test("fuzz", "seeds", "config"),
        ],
    },
    Threat {
        who: "The author of a configuration file", reach: "secrets of examples, and what is open unnoticed",
        stop: "values of examples are refused, short secrets and addresses with public keys logged; the start says what is open to whom; `profile = \"production\"` refuses to start with something open and names every key",
        shown_by: &[
            part("config::secrets::tests::values_of_examples_are_refused"),
            part("config::secrets::tests::short_secrets_and_public_keys_are_weak"),
            part("config::profile::tests::everything_that_is_open_is_named_at_once"),
            whole("startup::production_refuses_to_start_with_something_open_and_names_every_key"),
            whole("log_lines::the_start_says_in_one_line_what_is_open_to_whom"),
        ],
    },
    Threat {
        who: "A script of an operator", reach: "every client's jobs, by an empty variable in a filter",
        stop: "an empty value or a missing filter is refused by the command line and by `/api/v1`; `all` cancels everything",
        shown_by: &[
            whole("acts::what_is_asked_wrongly_changes_nothing"),
            whole("cli_acts::the_queue_is_cleared_only_when_it_is_meant"),
        ],
    },
];
