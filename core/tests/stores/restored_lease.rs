//! A lease store that loses its data, or is set back to an old backup, brings no epoch back and costs no durable
//! write: safety is the log's.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use haqlite::HaQLite;
use haqlite::lease_store::{Register, Swap};

use crate::stage::{Stage, eventually, leads, write_durably};
use crate::support::run;

/// What is in the register now.
fn copy(stage: &Stage) -> Register {
    let (store, key) = stage.lease();
    run(async move { store.read(&key).await }).unwrap().expect("there is a lease")
}

/// The register's old content is put in place of what is there, whatever that is.
fn put_back(stage: &Stage, old: &Register) {
    let (store, key) = stage.lease();
    let body = old.body.clone();
    run(async move {
        loop {
            let swap = match store.read(&key).await.unwrap() {
                Some(now) => store.replace(&key, &body, &now.version).await.unwrap(),
                None => store.create(&key, &body).await.unwrap(),
            };
            if let Swap::Done(_) = swap {
                return;
            }
        }
    });
}

/// Hands over to the other node as often as it takes for the epoch to grow by so much; the last epoch.
fn grow(leader: &HaQLite, other: &HaQLite, rows: std::ops::Range<i64>) -> u64 {
    let (mut from, mut to, mut epoch) = (leader, other, 0);
    for n in rows {
        eventually("handed over", || from.handoff_blocking(None).is_ok());
        eventually("the other node leads", || leads(to));
        let now = write_durably(from, n);
        assert!(now > epoch, "the epoch was {epoch} and is {now}");
        epoch = now;
        (from, to) = (to, from);
    }
    epoch
}

/// What happens to the register, and that whoever leads then has an epoch above every one that the log has.
fn no_epoch_comes_back(stage: &mut Stage, spoil: impl Fn(&mut Stage, &Register)) {
    let (a, b) = (stage.open("a"), stage.open("b"));
    write_durably(&a, 1);
    let old = copy(stage);
    // Five hand-overs: it is not the holder of the old record that leads then.
    let before = grow(&a, &b, 2..7);
    assert!(leads(&b));

    // Under a living leader, while the old holder is alive.
    spoil(stage, &old);
    for n in 10..20 {
        let now = write_durably([&a, &b][n as usize % 2], n);
        assert!(now >= before, "the epoch was {before} and is {now}");
    }
    eventually("one of them leads", || leads(&a) != leads(&b));
    let (leader, other) = if leads(&a) { (&a, &b) } else { (&b, &a) };
    let epoch = grow(leader, other, 20..22);
    assert!(epoch > before, "the epoch was {before} and is {epoch}");
    a.close_blocking().unwrap();
    b.close_blocking().unwrap();

    // While nobody runs: whoever comes next knows nothing but the register and the log.
    spoil(stage, &old);
    let c = stage.open("c");
    let last = write_durably(&c, 22);
    assert!(last > epoch, "the epoch was {epoch} and is {last}");
    let a = stage.open("a");
    write_durably(&a, 23);
    c.close_blocking().unwrap();
    a.close_blocking().unwrap();

    let restored = stage.restored();
    for n in (1..7).chain(10..24) {
        assert_eq!(restored.iter().filter(|row| **row == n).count(), 1, "row {n} of {restored:?}");
    }
    check_log(stage);
}

/// The log is one chain whose epochs never go down.
fn check_log(stage: &Stage) {
    let report = haqlite::Verify::new(&stage.place.bucket).db_name("app").run().unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

fn set_back(stage: &mut Stage, old: &Register) {
    put_back(stage, old);
}

fn forget(stage: &mut Stage, _: &Register) {
    stage.forget_the_lease();
}

#[test]
fn a_lease_in_memory_that_is_set_back_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::memory(), set_back);
}

#[test]
fn a_lease_in_memory_that_is_gone_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::memory(), forget);
}

#[test]
fn a_lease_in_a_directory_that_is_set_back_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::directory(), set_back);
}

#[test]
fn a_lease_in_a_directory_that_is_gone_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::directory(), forget);
}

#[cfg(feature = "nats")]
#[test]
fn a_lease_in_nats_that_is_set_back_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::nats(), set_back);
}

#[cfg(feature = "nats")]
#[test]
fn a_lease_in_nats_that_has_lost_its_data_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::nats(), forget);
}

#[cfg(feature = "etcd")]
#[test]
fn a_lease_in_etcd_that_is_set_back_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::etcd(), set_back);
}

#[cfg(feature = "etcd")]
#[test]
fn a_lease_in_etcd_that_has_lost_its_data_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::etcd(), forget);
}

#[cfg(feature = "cli")]
#[test]
fn a_lease_on_the_store_server_that_is_set_back_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::http(), set_back);
}

#[cfg(feature = "cli")]
#[test]
fn a_lease_on_the_store_server_that_has_lost_its_data_brings_no_epoch_back() {
    no_epoch_comes_back(&mut Stage::http(), forget);
}
