//! Many calls: how pipelines share the workers, and what ends when.

use std::sync::Arc;

use millrace::config::{Isolation, PluginConfig};
use millrace::disposition::ReasonClass;
use millrace::sandbox::{CallError, Compiler, Lane, Plugin, Role, Sandbox};
use millrace_tests::{PATIENCE, wait_for};
use tokio::task::JoinHandle;

use super::{first_byte, hostile, load, message, wants};

fn spawn(plugin: &Arc<Plugin>, lane: &Lane, n_calls: usize) -> Vec<JoinHandle<Result<u8, CallError>>> {
    let call = || {
        let (plugin, lane) = (Arc::clone(plugin), lane.clone());
        tokio::spawn(async move { first_byte(&plugin, &lane).await })
    };
    std::iter::repeat_with(call).take(n_calls).collect()
}

fn is_deadline(answer: &Result<u8, CallError>) -> bool {
    matches!(
        answer,
        Err(CallError::Fault {
            class: ReasonClass::Deadline,
            ..
        })
    )
}

/// Endless calls of one pipeline, more than there are workers; meanwhile another pipeline is served.
async fn an_endless_plugin_beside_a_good_one(n_workers: usize, n_good_calls: usize) {
    let sandbox = Sandbox::start(n_workers, Compiler::InProcess).unwrap();
    let endless = load(&sandbox, &hostile("loop"), Role::Preprocess);
    let good = load(&sandbox, &hostile("ok"), Role::Preprocess);
    let (hostile_lane, good_lane) = (sandbox.lane(2), sandbox.lane(2));
    let n_endless = n_workers * 8;
    let endless = spawn(&endless, &hostile_lane, n_endless);
    wait_for("an endless call to run", || (sandbox.instances() > 0).then_some(())).unwrap();
    for _ in 0..n_good_calls {
        let answer = tokio::time::timeout(PATIENCE, first_byte(&good, &good_lane)).await;
        assert_eq!(answer.expect("served in time").unwrap(), 0);
    }
    let waiting = endless.iter().filter(|call| !call.is_finished()).count();
    assert!(
        waiting > 0,
        "all {n_endless} endless calls were over before {n_good_calls} good ones were served"
    );
    for call in endless {
        assert!(is_deadline(&call.await.unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pipeline_cannot_hold_all_workers() {
    an_endless_plugin_beside_a_good_one(2, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_take_turns_at_a_single_worker() {
    an_endless_plugin_beside_a_good_one(1, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_pipeline_has_all_workers() {
    let sandbox = Sandbox::start(2, Compiler::InProcess).unwrap();
    let endless = load(&sandbox, &hostile("loop"), Role::Preprocess);
    let calls = spawn(&endless, &sandbox.lane(1), 2);
    wait_for("both calls to run at once", || (sandbox.instances() == 2).then_some(())).unwrap();
    for call in calls {
        assert!(is_deadline(&call.await.unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_generation_frees_its_memory() {
    let sandbox = Sandbox::start(2, Compiler::InProcess).unwrap();
    let lane = sandbox.lane(1);
    let config = PluginConfig {
        isolation: Isolation::Worker,
        ..hostile("ok")
    };
    let plugin = load(&sandbox, &config, Role::Preprocess);
    for call in spawn(&plugin, &lane, 16) {
        call.await.unwrap().unwrap();
    }
    assert!(
        (1..=2).contains(&sandbox.instances()),
        "{} instances are kept",
        sandbox.instances()
    );
    drop(plugin);
    wait_for("the instances to go", || (sandbox.instances() == 0).then_some(())).unwrap();
}

#[tokio::test]
async fn more_plugins_than_a_worker_keeps_are_served_all_the_same() {
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let lane = sandbox.lane(1);
    let config = PluginConfig {
        isolation: Isolation::Worker,
        ..hostile("ok")
    };
    let plugins: Vec<_> = (0..10).map(|_| load(&sandbox, &config, Role::Preprocess)).collect();
    for plugin in plugins.iter().chain(&plugins) {
        first_byte(plugin, &lane).await.unwrap();
        assert!(sandbox.instances() <= 7, "{} instances", sandbox.instances());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_the_call_in_hand_and_answers_those_that_wait() {
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let endless = load(&sandbox, &hostile("loop"), Role::Preprocess);
    let lane = sandbox.lane(1);
    let calls = spawn(&endless, &lane, 6);
    wait_for("a call to run", || (sandbox.instances() == 1).then_some(())).unwrap();
    tokio::task::spawn_blocking(move || sandbox.stop()).await.unwrap();
    let (mut n_ended, mut n_stopped) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Err(CallError::Stopped) => n_stopped += 1,
            answer => {
                assert!(is_deadline(&answer));
                n_ended += 1;
            }
        }
    }
    // The call in flight may end on its own right before the stop, and the next begin.
    assert!(
        (1..=2).contains(&n_ended) && n_ended + n_stopped == 6,
        "{n_ended} ended, {n_stopped} stopped"
    );
    assert!(matches!(first_byte(&endless, &lane).await, Err(CallError::Stopped)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_harms_nobody() {
    let sandbox = Sandbox::start(1, Compiler::InProcess).unwrap();
    let endless = load(&sandbox, &hostile("loop"), Role::Preprocess);
    let good = load(&sandbox, &hostile("ok"), Role::Preprocess);
    let lane = sandbox.lane(1);
    let calls = spawn(&endless, &lane, 20);
    wait_for("a call to run", || (sandbox.instances() == 1).then_some(())).unwrap();
    calls.iter().for_each(JoinHandle::abort);
    let answer = good.preprocess(&lane, &message("m", b""), &wants()).await;
    assert!(answer.answer.is_ok(), "{answer:?}");
}
