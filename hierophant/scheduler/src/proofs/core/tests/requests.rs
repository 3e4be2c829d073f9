//! Clients ask, share, withdraw, run out of time; whose turn it is.

use hierophant_model::clients::{NamedClient, OverQuota, Quota};
use hierophant_model::records::Accepted;

use super::*;
use crate::proofs::{CancelError, SubmitError};

#[test]
fn the_same_content_shares_one_attempt_and_both_are_fulfilled() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    assert_eq!(given_out(&submit(&mut core, 2, 1)), None);
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
}

#[test]
fn content_that_is_proved_already_is_fulfilled_at_once() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    hand_in(&mut core, 1, lease);
    let proved = core.checked(START, lease, Ok(())).into_iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job),
        _ => None,
    });
    let job = proved.as_ref().expect("saved").id;
    let known = StoreLookup { ended: proved, ..StoreLookup::default() };
    let (answer, effects) = core.submit(START, new_request(2, 1), known);
    assert_eq!(answer, Ok(Accepted { request: RequestId([2; 32]), job }));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
    assert_eq!(given_out(&effects), None);
}

#[test]
fn a_retried_call_gets_the_earlier_request_and_changes_nothing() {
    let mut core = core();
    let earlier = Accepted { request: RequestId([1; 32]), job: JobId([7; 16]) };
    let known = StoreLookup { earlier: Some(earlier), ..StoreLookup::default() };
    let (answer, effects) = core.submit(START, new_request(2, 1), known);
    assert_eq!(answer, Ok(earlier));
    assert_eq!(effects, []);
}

#[test]
fn a_full_queue_turns_new_work_away_but_not_shared_work() {
    let mut core = core();
    for n in 1..=4 {
        submit(&mut core, n, n);
    }
    let (answer, effects) = core.submit(START, new_request(5, 5), StoreLookup::default());
    assert_eq!(answer, Err(SubmitError::Busy { waiting: 4 }));
    assert_eq!(effects, []);
    submit(&mut core, 6, 1);
}

#[test]
fn cancelling_stops_the_work_and_sticks() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let id = RequestId([1; 32]);
    assert_eq!(core.cancel(START, id, &Client::Address(BOB)).0, Err(CancelError::NotFound));
    let (answer, effects) = core.cancel(START, id, &Client::Address(ALICE));
    assert_eq!(answer, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Cancelled));
    assert_eq!(cancels(&effects), [lease]);
    let late = core.completed(START, worker(1), lease, execution(), proof_blob());
    assert_eq!(request_state(&late, 1), None);
    assert_eq!(core.cancel(START, id, &Client::Address(ALICE)).0, Err(CancelError::NotFound));
}

#[test]
fn a_shared_job_goes_on_for_the_other_request() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    submit(&mut core, 2, 1);
    let (_, effects) = core.cancel(START, RequestId([1; 32]), &Client::Address(ALICE));
    assert_eq!(cancels(&effects), []);
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), None);
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
}

#[test]
fn a_passed_deadline_ends_the_request_and_stops_the_work() {
    let mut core = core_with(Limits { stall_limit_ms: 0, ..limits() });
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let deadline = Millis::from_seconds(DEADLINE);
    assert_eq!(core.sweep(deadline), []);
    let effects = core.sweep(Millis(deadline.0 + 1));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Expired));
    assert_eq!(job_state(&effects), Some(JobState::Expired));
    assert_eq!(cancels(&effects), [lease]);
}

#[test]
fn a_requester_with_a_backlog_does_not_hold_up_another() {
    let mut core = core();
    for n in 1..=3 {
        submit(&mut core, n, n);
    }
    let bobs = NewRequest { requester: BOB, ..new_request(4, 4) };
    core.submit(START, bobs, StoreLookup::default()).0.expect("accepted");
    let (_, first) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let (_, second) = given_out(&join(&mut core, 2, 2)).expect("given out");
    let requester = |lease| core.jobs[&core.leases.get(&lease).expect("held").job].requester();
    assert_eq!([requester(first), requester(second)], [ALICE.into(), BOB.into()]);
}

#[test]
fn the_addresses_and_tokens_of_a_client_share_its_turns() {
    const CAROL: Address = Address::repeat_byte(0xca);
    const DAVE: Address = Address::repeat_byte(0xda);
    let quota = Quota::default();
    let addresses = vec![ALICE, CAROL];
    let rollup = NamedClient { name: "rollup".into(), addresses, networks: vec![], quota };
    let clients = Clients::new([rollup], quota, 0);
    let mut core = core_with(Limits { clients, max_waiting: 100, ..limits() });
    let mut ask = |n, requester, token: Option<&str>| {
        let client = token.map(Into::into);
        let new = NewRequest { requester, client, ..new_request(n, n) };
        core.submit(START, new, StoreLookup::default()).0.expect("accepted");
    };
    ask(1, ALICE, None);
    ask(2, CAROL, None);
    // Any address, with a token of the client; with the same address without one.
    ask(3, DAVE, Some("rollup"));
    ask(4, DAVE, None);
    ask(5, BOB, None);
    let mut begun = Vec::new();
    for n in 1..=5 {
        let (_, lease) = given_out(&join(&mut core, n, n.into())).expect("given out");
        let live = &core.jobs[&core.leases.get(&lease).expect("held").job];
        begun.extend(live.requests.keys().map(|id| id.0[0]));
    }
    assert_eq!(begun, [1, 4, 5, 2, 3], "the client has one of three turns");
    assert_eq!(core.queue.running(Client::Named("rollup".into()).key()), 3);
}

#[test]
fn urgent_modes_go_first() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let mut urgent = new_request(2, 2);
    urgent.spec.mode = ProofMode::Plonk;
    core.submit(START, urgent, StoreLookup::default()).0.expect("accepted");
    let both = WorkerJoined {
        capabilities: capabilities(vec![ProofMode::Core, ProofMode::Plonk]),
        ..arrival(1, 1, &[])
    };
    let effects = core.worker_joined(START, both);
    let (_, lease) = given_out(&effects).expect("given out");
    assert_eq!(
        core.leases.get(&lease).expect("held").job,
        core.open.job(RequestId([2; 32])).expect("open")
    );
}

#[test]
fn content_that_was_set_aside_fails_at_once_while_in_quarantine() {
    let mut core = core();
    for n in 1..=3 {
        join(&mut core, n, n.into());
    }
    let mut effects = submit(&mut core, 1, 1);
    for _ in 0..3 {
        let (to, lease) = given_out(&effects).expect("given out");
        effects = core.failed(START, to, lease, failure(FailureClass::Worker));
    }
    let set_aside = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.clone()),
        _ => None,
    });
    let set_aside = set_aside.expect("saved");
    let message = &set_aside.failure.as_ref().expect("says why").message;
    assert_eq!(message, "set aside after 3 failed attempts on 3 workers; last failure: it broke");
    let job = set_aside.id;
    let known = StoreLookup { ended: Some(set_aside), ..StoreLookup::default() };
    let (answer, effects) = core.submit(START, new_request(2, 1), known);
    assert_eq!(answer, Ok(Accepted { request: RequestId([2; 32]), job }));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Failed));
    assert_eq!(given_out(&effects), None);
}

#[test]
fn a_worker_that_joins_later_lifts_the_quarantine_unless_the_content_failed_on_it() {
    let mut core = core();
    for n in 1..=4 {
        join(&mut core, n, n.into());
    }
    let mut effects = submit(&mut core, 1, 1);
    let mut failed_on = BTreeSet::new();
    for _ in 0..3 {
        let (to, lease) = given_out(&effects).expect("given out");
        failed_on.insert(to);
        effects = core.failed(START, to, lease, failure(FailureClass::Worker));
    }
    let set_aside = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.clone()),
        _ => None,
    });
    let ask = |core: &mut ProofsCore, id| {
        let (ended, failed_on) = (set_aside.clone(), failed_on.clone());
        let known = StoreLookup { ended, failed_on, ..StoreLookup::default() };
        core.submit(START, new_request(id, 1), known).1
    };
    let fails = |effects: &[Effect], id| request_state(effects, id) == Some(RequestState::Failed);
    assert!(fails(&ask(&mut core, 2), 2), "the fourth worker was there before");
    let later = Millis(START.0 + 1000);
    let failed = failed_on.iter().next().expect("some").0[0];
    core.worker_removed(later, worker(failed), SessionId(failed.into()), "restarted");
    core.worker_joined(later, arrival(failed, 9, &[]));
    assert!(fails(&ask(&mut core, 3), 3), "it failed on this one");
    let spared = (1..=4).find(|n| !failed_on.contains(&worker(*n))).expect("one");
    core.worker_away(later, worker(spared), SessionId(spared.into()));
    core.worker_joined(later, arrival(spared, 10, &[]));
    assert!(fails(&ask(&mut core, 4), 4), "a reconnection changes nothing");
    core.worker_joined(later, arrival(5, 11, &[]));
    let effects = ask(&mut core, 5);
    assert_eq!(request_state(&effects, 5), Some(RequestState::Open));
    assert!(given_out(&effects).is_some());
}

#[test]
fn a_finished_proof_that_is_gone_is_made_again_for_those_who_wait() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    let job = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.clone()),
        _ => None,
    });
    let request = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Request(request, _)) => Some(request.clone()),
        _ => None,
    });
    let (job, request) = (job.expect("saved"), request.expect("saved"));
    let effects = core.reopen(START, job.clone(), vec![request.clone()]);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Open));
    let (_, lease) = given_out(&effects).expect("given out again");
    assert_eq!(given_out(&core.reopen(START, job, vec![request])), None, "once is enough");
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

/// Clients of whom one is configured, each address with room for this number of open requests.
fn clients(open_requests: u64) -> Clients {
    let quota = Quota { open_requests, ..Quota::default() };
    let rollup =
        NamedClient { name: "rollup".into(), addresses: vec![BOB], networks: vec![], quota };
    Clients::new([rollup], quota, 0)
}

/// Submits requests of this address for inputs of their own, until one is refused; returns the number accepted.
fn fill(core: &mut ProofsCore, by: Address, inputs: std::ops::Range<u16>) -> usize {
    let mut accepted = 0;
    for input in inputs {
        let [high, low] = input.to_be_bytes();
        let mut new = new_request(0, low);
        new.id.0[..2].copy_from_slice(&[high, low]);
        new.stdin_blob.sha256.0[..2].copy_from_slice(&[high, low]);
        new.requester = by;
        match core.submit(START, new, StoreLookup::default()).0 {
            Ok(_) => accepted += 1,
            Err(SubmitError::Busy { waiting }) => {
                assert_eq!(waiting, core.queue.len());
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    accepted
}

#[test]
fn two_addresses_cannot_fill_the_queue_for_all_others() {
    let mut core = core_with(Limits { max_waiting: 1000, ..limits() });
    let (first, second) = (Address::repeat_byte(1), Address::repeat_byte(2));
    assert_eq!(fill(&mut core, first, 0..500), 500);
    assert_eq!(fill(&mut core, second, 500..1000), 400, "a tenth is left");
    let third = Address::repeat_byte(3);
    assert_eq!(fill(&mut core, third, 1000..2000), 50, "who has little in it gets more");
    assert_eq!(fill(&mut core, Address::repeat_byte(4), 2000..2010), 10);
}

#[test]
fn strangers_leave_a_quarter_of_the_queue_to_configured_clients() {
    let limits = Limits { max_waiting: 100, clients: clients(0), ..limits() };
    let mut core = core_with(limits);
    let strangers = (10..100).map(Address::repeat_byte);
    let accepted: usize = strangers
        .zip(0_u16..)
        .map(|(stranger, number)| fill(&mut core, stranger, 2 * number..2 * number + 2))
        .sum();
    assert_eq!(accepted, 75);
    assert_eq!(fill(&mut core, BOB, 1000..2000), 15);
}

#[test]
fn requests_that_are_answered_at_once_count_like_open_ones_for_a_minute() {
    let quota = Quota { open_requests: 3, ..Quota::default() };
    let clients = Clients::new([], quota, 0);
    let mut core = core_with(Limits { clients, ..limits() });
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    hand_in(&mut core, 1, lease);
    let proved = core.checked(START, lease, Ok(())).into_iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job),
        _ => None,
    });
    let again = |core: &mut ProofsCore, now, id| {
        let known = StoreLookup { ended: proved.clone(), ..StoreLookup::default() };
        core.submit(now, new_request(id, 1), known).0
    };
    for id in 2..=4 {
        again(&mut core, START, id).expect("accepted");
    }
    let over = Err(SubmitError::OverQuota(OverQuota::OpenRequests(3)));
    assert_eq!(again(&mut core, START, 5), over);
    let (answer, _) = core.submit(START, new_request(6, 6), StoreLookup::default());
    assert_eq!(answer, over, "nor is there room for one that waits");
    let later = Millis(START.0 + MINUTE);
    again(&mut core, later, 7).expect("accepted again");
}

#[test]
fn all_strangers_together_have_a_rate_and_configured_clients_have_their_own() {
    let clients = clients(0).with_strangers_requests(3);
    let mut core = core_with(Limits { max_waiting: 100, clients, ..limits() });
    let by = |core: &mut ProofsCore, now, id: u8, requester| {
        let new = NewRequest { requester, ..new_request(id, id) };
        core.submit(now, new, StoreLookup::default()).0
    };
    for id in 1..=3 {
        by(&mut core, START, id, Address::repeat_byte(id)).expect("accepted");
    }
    let refused = by(&mut core, START, 4, Address::repeat_byte(4));
    assert_eq!(refused, Err(SubmitError::OverQuota(OverQuota::StrangersRequests(3))));
    by(&mut core, START, 5, BOB).expect("a client is accepted");
    let later = Millis(START.0 + MINUTE);
    by(&mut core, later, 6, Address::repeat_byte(4)).expect("accepted again");
}
