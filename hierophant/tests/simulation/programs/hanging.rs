//! A store that hangs, under load: it answers nothing for 45 s, and an operator's command waits for it as well. No
//! connection is lost, no job is attempted twice, and no proof is thrown away.

use std::rc::Rc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use network_lib::ids::WorkerId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::clients::{Asked, Plan};
use super::contemplants::{Contemplant, Temper};
use super::machine::Machine;
use super::network::{self, HIEROPHANT};
use super::operator;
use super::story::Story;
use super::world;

/// How long the store hangs: ten times as long as a worker may be silent here.
const HANGS: Duration = Duration::from_secs(45);
/// When it begins to.
const FROM: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(300);
const CONTEMPLANTS: u8 = 5;

fn honest(rng: &mut StdRng, number: u8, story: &Story) -> Contemplant {
    loop {
        let drawn = Contemplant::draw(rng, number, story.clone());
        if drawn.temper == Temper::Honest {
            return drawn;
        }
    }
}

/// In the middle of it: the command waits for the store too. No worker may count as silent for that.
async fn operate() {
    tokio::time::sleep(FROM + Duration::from_secs(1)).await;
    let stranger = WorkerId([0xff; 16]);
    let url = format!("http://hierophant:9010/api/v1/workers/{stranger}/block");
    let token = Some(operator::ACT_TOKEN);
    let call = network::call_as(token, Method::POST, &url, vec![], Duration::ZERO);
    // The caller has less patience than the store takes.
    call.await.expect_err("no answer");
    let dead = "http://hierophant:9010/dead-contemplants";
    loop {
        let token = Some(operator::TOKEN);
        let call = network::call_as(token, Method::GET, dead, vec![], Duration::ZERO);
        if let Ok((StatusCode::OK, page)) = call.await {
            let page = String::from_utf8_lossy(&page);
            assert!(!page.contains("silent"), "a worker counts as silent: {page}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn a_store_that_hangs_for_45_seconds_costs_no_connection_and_no_attempt() {
    for seed in 1..=2 {
        super::watch_for_panics();
        let mut rng = StdRng::seed_from_u64(seed);
        let story = Story::default();
        let mut sim = world::builder(&mut rng).build();
        let machine = Rc::new(Machine::new(&mut rng, story.clone()));
        let host = Rc::clone(&machine);
        sim.host(HIEROPHANT, move || {
            let machine = Rc::clone(&host);
            async move { machine.run().await }
        });
        for number in 0..CONTEMPLANTS {
            let contemplant = honest(&mut rng, number, &story);
            let name = contemplant.name.clone();
            sim.host(name.as_str(), move || {
                let contemplant = contemplant.clone();
                async move {
                    contemplant.run().await;
                    Ok(())
                }
            });
        }
        let plan = |content| Plan {
            content,
            at: Duration::from_millis(rng.random_range(2000..60_000)),
            deadline: Duration::from_secs(3600),
            withdraw: None,
            seed: rng.random(),
        };
        let plans: Vec<Plan> = (1..=40).map(plan).collect();
        let named =
            |plan: Plan| Asked::new(format!("content {}", plan.content), plan, story.clone());
        let asked: Vec<Asked> = plans.into_iter().map(named).collect();
        let hosted = asked.clone();
        sim.host("client", move || {
            let hosted = hosted.clone();
            async move {
                let channel = network::channel();
                let asks = hosted.into_iter().map(|asked| asked.run(channel.clone(), 1));
                futures_util::future::join_all(asks).await;
                Ok(())
            }
        });
        sim.host("operator", || async {
            operate().await;
            Ok(())
        });
        let mut hung = false;
        while sim.elapsed() < END {
            let hangs = (FROM..FROM + HANGS).contains(&sim.elapsed());
            if hangs != hung {
                story.tell_at(sim.elapsed(), format!("the store hangs: {hangs}"));
                machine.hang_store(hangs);
                hung = hangs;
            }
            if let Err(error) = sim.step() {
                panic!("seed {seed}: {error}\n{}", story.last(100));
            }
            super::assert_no_panic();
        }
        let all_over = asked.iter().all(|asked| asked.reported().is_over());
        assert!(all_over, "seed {seed}: not over\n{}", story.last(300));
        let told = story.last(usize::MAX);
        let lost: Vec<&str> =
            told.lines().filter(|line| line.contains("is not connected")).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?}");
        machine.stop();
        while sim.is_host_running(HIEROPHANT) {
            if let Err(error) = sim.step() {
                panic!("{error}");
            }
        }
        let ends = machine.ends(&asked);
        assert_eq!((ends.fulfilled, ends.attempts), (40, 40), "seed {seed}: {ends}");
    }
}
