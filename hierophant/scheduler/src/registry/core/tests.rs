//! Admission, liveness and removal of workers.

use std::net::Ipv4Addr;

use hierophant_model::sanitize::MAX_GPUS;
use network_lib::ids::LeaseId;

use super::*;

pub(super) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

pub(super) fn here() -> Result<Credential, String> {
    Ok(Credential::ThisMachine)
}

pub(super) fn rules() -> Rules {
    Rules {
        max_workers: 2,
        max_workers_per_token: 0,
        max_slots: 64,
        silence_limit_ms: 1000,
        mock_mode: false,
        blocked: vec![],
    }
}

pub(super) fn hello(n: u8) -> Hello {
    Hello {
        protocol: ProtocolRange::OURS,
        software_version: "0.1.0".into(),
        name: "amos".into(),
        worker_id: WorkerId([n; 16]),
        instance: None,
        token: None,
        local_secret: None,
        capabilities: Capabilities {
            vm: "sp1".into(),
            circuit_versions: vec![],
            modes: vec![],
            backend: Backend::Cpu,
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: vec![],
            unavailable_reason: None,
            sharding: None,
        },
        held: vec![],
    }
}

fn code(result: Result<Admission, Refusal>) -> RefusalCode {
    result.expect_err("refused").code
}

#[test]
fn an_unknown_protocol_version_is_refused_with_the_wanted_one() {
    let mut core = RegistryCore::new(rules());
    let mut hello = hello(1);
    hello.protocol = ProtocolRange { oldest: 7, newest: 9 };
    let refusal = core.admit(Millis(0), &hello, HERE, here()).expect_err("refused");
    assert_eq!(refusal.code, RefusalCode::ProtocolVersion);
    assert!(refusal.message.contains("2 to 3") && refusal.message.contains("7 to 9"));
}

#[test]
fn an_unauthorized_worker_is_refused_with_the_reason() {
    let mut core = RegistryCore::new(rules());
    let refusal = core.admit(Millis(0), &hello(1), HERE, Err("unknown token".into()));
    let refusal = refusal.expect_err("refused");
    assert_eq!((refusal.code, &*refusal.message), (RefusalCode::Unauthorized, "unknown token"));
}

#[test]
fn an_id_that_is_connected_is_not_taken_over_by_another_token() {
    let by = |n: u8| Ok(Credential::Own(TokenId([n; 16]), "rig".into()));
    let mut core = RegistryCore::new(rules());
    let session = core.admit(Millis(0), &hello(1), HERE, by(1)).expect("admitted").session;
    let others = [by(2), Ok(Credential::Shared), Ok(Credential::ThisMachine)];
    for other in others.clone() {
        assert_eq!(code(core.admit(Millis(1), &hello(1), HERE, other)), RefusalCode::Taken);
    }
    core.disconnected(WorkerId([1; 16]), session, "reset by peer");
    assert_eq!(code(core.admit(Millis(2), &hello(1), HERE, by(2))), RefusalCode::Taken);
    let again = core.admit(Millis(3), &hello(1), HERE, by(1)).expect("its own");
    core.remove(Millis(4), WorkerId([1; 16]), again.session, "silent");
    assert!(core.admit(Millis(5), &hello(1), HERE, by(2)).is_ok());
}

#[test]
fn mock_workers_need_mock_mode() {
    let mut mock = hello(1);
    mock.capabilities.backend = Backend::Mock;
    let mut core = RegistryCore::new(rules());
    assert_eq!(code(core.admit(Millis(0), &mock, HERE, here())), RefusalCode::MockNotAllowed);
    let mut core = RegistryCore::new(Rules { mock_mode: true, ..rules() });
    assert!(core.admit(Millis(0), &mock, HERE, here()).is_ok());
}

#[test]
fn a_full_house_refuses_but_a_returning_worker_takes_its_own_place() {
    let mut core = RegistryCore::new(rules());
    let first = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted");
    core.admit(Millis(0), &hello(2), HERE, here()).expect("admitted");
    assert_eq!(code(core.admit(Millis(0), &hello(3), HERE, here())), RefusalCode::Full);
    let again = core.admit(Millis(5), &hello(1), HERE, here()).expect("admitted");
    assert_eq!(again.replaces, Some(first.session));
    assert!(!core.remove(Millis(6), WorkerId([1; 16]), first.session, "late word"));
    assert_eq!(core.workers().len(), 2);
    assert_eq!(core.removed_workers()[0].reason, "replaced by a new connection");
}

#[test]
fn an_own_token_admits_a_limited_number_of_workers_and_a_shared_one_any() {
    let own = || Ok(Credential::Own(TokenId([7; 16]), "rig".into()));
    let other = Ok(Credential::Own(TokenId([8; 16]), "rig-2".into()));
    for most in 1..3 {
        let limits = Rules { max_workers: 9, max_workers_per_token: most, ..rules() };
        let mut core = RegistryCore::new(limits);
        for n in 0..most {
            let n = u8::try_from(n).expect("small");
            core.admit(Millis(0), &hello(n), HERE, own()).expect("admitted");
        }
        let refusal = core.admit(Millis(1), &hello(9), THERE, own()).expect_err("refused");
        assert_eq!(refusal.code, RefusalCode::Full);
        let named = "the token rig is in use by amos at 127.0.0.1";
        assert!(refusal.message.starts_with(named), "{}", refusal.message);
        let again = core.admit(Millis(2), &hello(0), HERE, own()).expect("it returns");
        core.admit(Millis(3), &hello(8), THERE, other.clone()).expect("another token");
        for n in 10..12 {
            core.admit(Millis(3), &hello(n), THERE, Ok(Credential::Shared)).expect("shared");
        }
        core.remove(Millis(4), WorkerId([0; 16]), again.session, "left");
        assert!(core.admit(Millis(5), &hello(9), THERE, own()).is_ok(), "its place is free");
    }
}

#[test]
fn a_worker_that_appears_at_another_address_is_noticed() {
    let own = || Ok(Credential::Own(TokenId([7; 16]), "rig".into()));
    let mut core = RegistryCore::new(rules());
    let first = core.admit(Millis(0), &hello(1), HERE, own()).expect("admitted");
    assert_eq!(first.moved_from, None);
    let moved = core.admit(Millis(1), &hello(1), THERE, own()).expect("admitted");
    assert_eq!(moved.moved_from, Some(HERE));
    assert_eq!(core.admit(Millis(2), &hello(1), THERE, own()).expect("in").moved_from, None);
    let session = core.session(WorkerId([1; 16])).expect("connected");
    core.remove(Millis(3), WorkerId([1; 16]), session, "left");
    let next = core.admit(Millis(4), &hello(2), HERE, own()).expect("admitted");
    assert_eq!(next.moved_from, Some(THERE), "another id with the same token");
}

#[test]
fn slots_are_limited() {
    let core = RegistryCore::new(rules());
    let mut capabilities = Capabilities { slots: 65, prefetch: 65, ..hello(1).capabilities };
    assert_eq!(core.limit_slots(&mut capabilities), Some(65));
    assert_eq!((capabilities.slots, capabilities.prefetch), (64, 64));
    assert_eq!(core.limit_slots(&mut capabilities), None);
}

#[test]
fn the_name_of_a_machine_is_displayable_and_bounded() {
    let mut core = RegistryCore::new(rules());
    let instance = Some(format!("pod-7\u{1b}[2J\n{}", "x".repeat(9999)));
    core.admit(Millis(0), &Hello { instance, ..hello(1) }, HERE, here()).expect("admitted");
    let shown = core.workers()[0].instance.clone().expect("known");
    assert!(shown.starts_with("pod-7[2Jxx") && shown.len() == 64, "{shown:?}");
    core.admit(Millis(1), &hello(1), HERE, here()).expect("admitted");
    assert_eq!(core.workers()[0].instance, None, "that of the latest handshake");
}

#[test]
fn blocked_workers_are_turned_away_by_id_and_by_address() {
    let id = WorkerId([1; 16]).to_string();
    for blocked in [id, "127.0.0.1".to_owned()] {
        let mut core = RegistryCore::new(Rules { blocked: vec![blocked], ..rules() });
        assert_eq!(code(core.admit(Millis(0), &hello(1), HERE, here())), RefusalCode::Blocked);
    }
    let other = WorkerId([2; 16]).to_string();
    let mut core = RegistryCore::new(Rules { blocked: vec![other], ..rules() });
    assert!(core.admit(Millis(0), &hello(1), HERE, here()).is_ok());
}

#[test]
fn a_cut_worker_is_gone_only_after_the_silence_limit() {
    let mut core = RegistryCore::new(rules());
    let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
    let id = WorkerId([1; 16]);
    assert!(core.disconnected(id, session, "reset by peer"));
    assert_eq!(core.session(id), None);
    assert!(core.expired(Millis(1000)).is_empty());
    let reason = "reset by peer; did not reconnect".to_owned();
    assert_eq!(core.expired(Millis(1001)), [(id, session, reason)]);
}

#[test]
fn a_clock_that_is_set_silences_nobody_and_hides_no_silence() {
    const HOURS: i64 = 10_000_000;
    let mut core = RegistryCore::new(rules());
    core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted");
    core.clock_set(HOURS);
    assert!(core.expired(Millis(HOURS + 1000)).is_empty());
    core.clock_set(-HOURS);
    assert_eq!(core.expired(Millis(1001)).len(), 1);
}

#[test]
fn loads_are_those_of_the_connection_that_is_there() {
    let mut core = RegistryCore::new(rules());
    let id = WorkerId([1; 16]);
    let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
    let load = GpuLoad { utilisation_percent: Some(97), ..GpuLoad::default() };
    assert!(core.gpu_loads(id, session, vec![load; 1000]));
    assert!(!core.gpu_loads(id, session, vec![load; 1000]), "no news");
    assert_eq!(core.workers()[0].gpus, [load; MAX_GPUS]);
    core.disconnected(id, session, "reset by peer");
    assert!(core.workers()[0].gpus.is_empty(), "it is forgotten");
    core.admit(Millis(1), &hello(1), HERE, here()).expect("admitted");
    assert!(!core.gpu_loads(id, session, vec![load]), "an older connection's word");
    assert!(core.workers()[0].gpus.is_empty());
}

#[test]
fn silence_is_judged_by_the_last_word() {
    let mut core = RegistryCore::new(rules());
    let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
    let id = WorkerId([1; 16]);
    core.heard(Millis(900), id, session);
    assert!(core.expired(Millis(1900)).is_empty());
    assert_eq!(core.expired(Millis(1901)), [(id, session, "silent for too long".into())]);
    assert!(core.remove(Millis(1901), id, session, "silent"));
    assert!(core.expired(Millis(9999)).is_empty());
}

#[test]
fn a_sleep_of_the_coordinator_is_no_silence_of_its_workers() {
    let mut core = RegistryCore::new(rules());
    let id = WorkerId([1; 16]);
    let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
    core.heard(Millis(900), id, session);
    core.excuse(Millis(60_900), 60_000);
    assert!(core.expired(Millis(61_900)).is_empty(), "it has as long as before");
    assert_eq!(core.expired(Millis(61_901)).len(), 1);
    core.excuse(Millis(61_901), 60_000);
    assert!(core.expired(Millis(62_901)).is_empty(), "nothing counts as heard in the future");
    assert_eq!(core.expired(Millis(62_902)).len(), 1);
}

#[test]
fn an_earlier_word_that_comes_later_takes_nothing_back() {
    let mut core = RegistryCore::new(rules());
    let id = WorkerId([1; 16]);
    let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
    core.heard(Millis(900), id, session);
    core.heard(Millis(300), id, session);
    assert!(core.expired(Millis(1900)).is_empty());
}

#[test]
fn two_machines_with_one_id_do_not_replace_each_other_without_end() {
    let mut core = RegistryCore::new(rules());
    let (mut admitted, mut refused) = (0, Vec::new());
    for second in 0..3600 {
        let from = if second % 2 == 0 { HERE } else { THERE };
        match core.admit(Millis(second * 1000), &hello(1), from, here()) {
            Ok(_) => admitted += 1,
            Err(refusal) => refused.push(refusal),
        }
    }
    assert_eq!(admitted, 6, "the first connection, and five that replaced it");
    assert!(refused.iter().all(|refusal| refusal.code == RefusalCode::Taken));
    let words = "two machines use this worker's id in turn, at 10.0.0.9 and 127.0.0.1: expected a \
                 data folder of its own for each";
    assert_eq!(refused[0].message, words);
    // Once the connected one has gone, the other one is welcome.
    let session = core.workers()[0].session;
    core.disconnected(WorkerId([1; 16]), session, "reset by peer");
    assert!(core.admit(Millis(3_600_000), &hello(1), HERE, here()).is_ok());
}

#[test]
fn a_worker_that_reconnects_often_is_welcome() {
    let mut core = RegistryCore::new(rules());
    for round in 0..100 {
        let session =
            core.admit(Millis(round * 20_000), &hello(1), HERE, here()).expect("admitted").session;
        if round % 2 == 0 {
            core.disconnected(WorkerId([1; 16]), session, "reset by peer");
        }
    }
}

#[test]
fn a_handshake_that_lists_more_than_a_worker_can_hold_is_refused() {
    let mut core = RegistryCore::new(rules());
    let held = |count: u64| (0..count).map(|n| LeaseId(u128::from(n).to_be_bytes())).collect();
    let refused = core.admit(Millis(0), &Hello { held: held(69), ..hello(1) }, HERE, here());
    let refusal = refused.expect_err("refused");
    assert_eq!(refusal.code, RefusalCode::Malformed);
    let words = "the handshake lists 69 attempts: expected at most 68 of a worker with 1 slot(s)";
    assert_eq!(refusal.message, words);
    assert!(core.admit(Millis(0), &Hello { held: held(68), ..hello(1) }, HERE, here()).is_ok());
}
