//! Snapshot tests of frames: `UPDATE_DOCS=1 cargo test -p hierophant pictures` rewrites the snapshots in
//! `pictures/`.

use hierophant_admin_model::{Changes, Job, Paused, Worker};
use hierophant_model::records::Millis;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};
use termion::event::Key;

use super::*;
use crate::cli::watch::model::{Snapshot, Update};

const NOW: i64 = 1_800_000_000_000;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("as the API has it")
}

fn overview(waiting: Value, workers: Value, running: usize) -> Overview {
    read(json!({
        "version": "0.1.0", "mock_mode": false, "waiting": waiting, "oldest_wait_seconds": 200,
        "running": running, "unfinished": 3, "workers": workers, "slots": 3, "stored_bytes": 1,
        "free_bytes": null, "storage_low": null, "webhooks": [],
    }))
}

fn job(number: u8, state: &str, failure: Option<&str>) -> Job {
    let id = format!("{number:02x}").repeat(16);
    let ended = failure.is_some() || state == "proved";
    let created = NOW - 1000 * i64::from(number) * 60;
    read(json!({
        "id": id, "state": state, "mode": "compressed", "program": "00", "circuit_version": "v6.1.0",
        "cycle_limit": 1, "gas_limit": 1, "input_bytes": 1, "attempts": 1, "contemplant": "amos",
        "requests": [{
            "id": "aa", "job": id, "requester": "0x00", "network_mode": "mainnet", "state": "open",
            "deadline": NOW + 7_200_000, "created_at": created, "updated_at": created,
        }],
        "cycles": 12_345_678, "failure": failure, "created_at": created,
        "started_at": created + 5000, "finished_at": ended.then_some(created + 47_000),
    }))
}

fn worker(name: &str, running: Value) -> Worker {
    read(json!({
        "id": name, "name": name, "ip": "10.0.0.1", "version": "0.1.0", "backend": "cuda",
        "modes": ["core", "compressed"], "slots": 1, "state": "ready", "obstacle": null,
        "joined_at": NOW, "heard_at": NOW, "strikes": 0, "proofs_completed": 3,
        "average_proof_seconds": 40.0, "running": running, "gpus": [],
    }))
}

fn proof(worker: &str, fraction: f64, estimated: bool) -> Value {
    json!([{
        "job": "0b".repeat(16), "worker": worker, "mode": "compressed", "program": "00",
        "phase": "proving", "fraction": fraction, "cycles_done": 4_200_000,
        "cycles_total": 12_345_678, "eta_seconds": 190, "estimated": estimated,
        "started_at": NOW - 61_000,
    }])
}

fn snapshot(overview: Overview) -> Snapshot {
    let (workers, queue, ended, failed) = (vec![], vec![], vec![], vec![]);
    Snapshot { overview, workers, queue, ended, failed }
}

fn model(snapshot: Snapshot) -> Model {
    let mut model = Model::new(Millis(NOW));
    model.apply(Millis(NOW), Update::Snapshot(Box::new(snapshot)));
    model
}

fn busy() -> Snapshot {
    let workers = json!({"ready": 3, "away": 1});
    Snapshot {
        workers: vec![
            worker("amos", proof("amos", 0.34, false)),
            worker("hosea", proof("hosea", 0.8, true)),
            worker("a name that is far too long", json!([])),
        ],
        queue: (1..=30).map(|number| job(number, "queued", None)).collect(),
        ended: (1..=9).map(|number| job(number, "proved", None)).collect(),
        ..snapshot(overview(json!({"compressed": 30}), workers, 2))
    }
}

fn failing() -> Model {
    let mut trouble = overview(json!({}), json!({"ready": 1}), 0);
    trouble.oldest_wait_seconds = None;
    trouble.storage_low = Some("the disk has 5 bytes left".into());
    trouble.mock_mode = true;
    let reason = "the new drivers are being installed".into();
    trouble.paused = Some(Paused { reason, since: NOW });
    let failures: Vec<Job> = ["set aside after 3 failed attempts on 3 Contemplants", "line\nbreak"]
        .into_iter()
        .zip(1..)
        .map(|(failure, number)| job(number, "failed", Some(failure)))
        .collect();
    let mut stopped = worker("amos", json!([]));
    stopped.obstacle = Some("docker does not answer".into());
    let mut model = model(Snapshot {
        workers: vec![stopped],
        ended: failures.clone(),
        failed: failures,
        ..snapshot(trouble)
    });
    model.pane = Pane::Failed;
    model
}

fn lost() -> Model {
    let mut model = model(busy());
    model.apply(Millis(NOW + 1000), Update::Lost("cannot reach Hierophant".into()));
    model.apply(Millis(NOW + 9000), Update::Lost("cannot reach Hierophant".into()));
    model.now = Millis(NOW + 13_000);
    model
}

fn picture(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(frame, model)).expect("draws");
    let lines = terminal.backend().to_string();
    lines.lines().map(|line| format!("{}\n", line.trim_matches('"').trim_end())).collect()
}

#[test]
fn pictures_are_as_they_were() {
    let empty = || {
        let mut nothing = overview(json!({}), json!({}), 0);
        nothing.oldest_wait_seconds = None;
        model(snapshot(nothing))
    };
    let pictures = [
        ("connecting", Model::new(Millis(NOW)), (80, 6)),
        ("empty", empty(), (80, 34)),
        ("busy", model(busy()), (150, 40)),
        ("busy_narrow", model(busy()), (48, 14)),
        ("busy_medium", model(busy()), (80, 24)),
        ("failing", failing(), (110, 20)),
        ("lost", lost(), (90, 12)),
    ];
    for (name, model, (width, height)) in pictures {
        let folder = "src/cli/watch/view/pictures";
        let file = format!("{folder}/{name}.txt");
        let drawn = picture(&model, width, height);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(folder).expect("creates");
            std::fs::write(&file, &drawn).expect("writes");
        }
        let expected = std::fs::read_to_string(&file).expect("a snapshot");
        assert_eq!(expected, drawn, "{name}: run it with UPDATE_DOCS=1");
    }
}

#[test]
fn a_proof_of_several_workers_has_a_line_with_its_tasks() {
    let mut divided = proof("ff", 0.5, false)[0].clone();
    divided["mode"] = "core".into();
    divided["tasks"] = json!({"done": 12, "all": 34, "running": 3, "workers": 3});
    let mut snapshot = busy();
    snapshot.overview.divided = vec![read(divided)];
    let model = model(snapshot);
    assert_eq!((model.running().len(), model.len(Pane::Running)), (3, 3));
    let shown = picture(&model, 100, 40);
    let line = shown.lines().find(|line| line.starts_with("3 workers")).expect("a line");
    assert!(line.starts_with("3 workers     core tasks 12/34 "), "{line}");
    assert!(line.contains("50%"), "{line}");
}

#[test]
fn any_screen_can_be_drawn_on() {
    let (busy, failing) = (model(busy()), failing());
    for (width, height) in [(1, 1), (3, 2), (20, 4), (65, 5), (300, 100)] {
        picture(&busy, width, height);
        picture(&failing, width, height);
    }
}

#[test]
fn keys_choose_a_list_and_scroll_it_to_its_end() {
    let mut model = model(busy());
    model.press(Key::BackTab);
    assert_eq!(model.pane, Pane::Failed);
    model.press(Key::Right);
    model.press(Key::Char('\t'));
    assert_eq!(model.pane, Pane::Waiting);
    model.press(Key::End);
    model.press(Key::Down);
    assert_eq!(model.scrolled[Pane::Waiting as usize], 29);
    model.press(Key::PageUp);
    model.press(Key::Up);
    assert_eq!(model.scrolled[Pane::Waiting as usize], 18);
    let shown = picture(&model, 80, 12);
    assert!(shown.contains("  19  ") && !shown.contains("  18  "), "{shown}");
}

#[test]
fn changes_are_taken_in() {
    let mut model = model(busy());
    let changes: Changes = read(json!({
        "at": NOW, "overview": overview(json!({}), json!({"ready": 1}), 0),
        "jobs": [job(1, "failed", Some("no")), job(2, "queued", None), job(50, "proved", None)],
        "requests": [], "workers": [worker("amos", json!([]))], "workers_gone": ["hosea"],
    }));
    let queue = Some(vec![job(2, "queued", None)]);
    let update = Update::Changes { changes: Box::new(changes), queue };
    model.apply(Millis(NOW + 1), update);
    let ids = |jobs: &[Job]| jobs.iter().map(|job| job.id[..2].to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&model.ended), ["01", "03", "04", "05", "06", "07", "08", "09", "32"]);
    assert_eq!((ids(&model.failed), ids(&model.queue)), (vec!["01".into()], vec!["02".into()]));
    assert!(model.running().is_empty() && !model.workers.contains_key("hosea"));
}
