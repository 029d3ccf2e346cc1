use std::collections::BTreeMap;
use std::time::Duration;

use crate::process::{Process, was_killed};
use crate::support::{PATIENCE, Site, eventually, has_all, insert, is_whole, no_duplicates, rows, rows_of};

/// How often the node is killed; `HAQLITE_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 100;
/// In one of so many rounds the machine is lost, too.
const LOSS: u64 = 12;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Deletes everything that the node has.
fn lose_machine(site: &Site, node: &str) {
    for entry in std::fs::read_dir(site.path("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(&format!("{node}.db")) {
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
    }
}

#[test]
fn a_node_killed_at_random_moments_has_every_write_that_it_acknowledged_in_cloud_mode() {
    let rounds = std::env::var("HAQLITE_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let site = Site::new();
    let mut dice = Dice(rounds);
    let mut acked: Vec<i64> = Vec::new();
    for round in 1..=rounds {
        let mut node = site.start_cloud("a");
        let from = i64::try_from(round).unwrap() * 1_000_000;
        node.tell(&format!("crowd {from}"));
        let least = usize::try_from(dice.below(12)).unwrap();
        eventually("writes are acknowledged", || node.numbers("acked").len() >= least);
        std::thread::sleep(Duration::from_micros(dice.below(20_000)));
        node.kill();
        acked.extend(node.numbers("acked"));
        if round.is_multiple_of(LOSS) {
            lose_machine(&site, "a");
        }
    }
    assert!(acked.len() as u64 > rounds * 5, "only {} writes were acknowledged", acked.len());
    let log = rows(&site.restored());
    has_all(&log, &acked, "acknowledged");
    no_duplicates(&log);

    let last = site.open("a");
    is_whole(&last);
    // What no slot held was carried by the next leadership's fence, or went with the machine.
    let mine = rows_of(&last);
    has_all(&mine, log.keys(), "the log's");
    no_duplicates(&mine);
    last.close_blocking().unwrap();
    site.is_the_log("a");
}

#[test]
fn what_followers_are_told_of_forwarded_writes_in_cloud_mode_outlives_each_leader() {
    const KILLS: usize = 6;
    let site = Site::new();
    let names = ["a", "b", "c"];
    let mut lives = 0;
    let mut start = |name: &str| {
        let mut process = site.start_cloud(name);
        lives += 1;
        process.tell(&format!("crowd {}", lives * 1_000_000));
        process
    };
    let mut nodes: BTreeMap<&str, Process> = names.iter().map(|name| (*name, start(name))).collect();
    let (mut acked, mut forwarded) = (Vec::new(), 0);
    for _ in 0..KILLS {
        let mut leader = None;
        eventually("one leads and the others forward", || {
            leader = names
                .iter()
                .copied()
                .find(|name| nodes.get_mut(name).unwrap().ask("role", "role ") == "role Leader");
            leader.is_some()
        });
        let leader = leader.unwrap();
        let before: BTreeMap<&str, usize> =
            names.iter().map(|name| (*name, nodes[name].numbers("acked").len())).collect();
        eventually("all nodes' writes are acknowledged", || {
            names.iter().all(|name| nodes[name].numbers("acked").len() > before[name] + 3)
        });
        forwarded += names.iter().filter(|name| **name != leader).count() * 4;
        let mut victim = nodes.remove(leader).unwrap();
        victim.kill();
        acked.extend(victim.numbers("acked"));
        nodes.insert(leader, start(leader));
    }
    for (_, mut node) in nodes {
        node.tell("exit");
        assert!(!was_killed(node.wait()));
        acked.extend(node.numbers("acked"));
    }
    assert!(forwarded >= KILLS * 8);
    let log = rows(&site.restored());
    has_all(&log, &acked, "acknowledged");
    no_duplicates(&log);
    let nodes: Vec<_> = names.iter().map(|name| site.open(name)).collect();
    let last = insert(&nodes[0], -1, 100).unwrap();
    for node in &nodes {
        node.wait_for_blocking(&last, PATIENCE).unwrap();
        is_whole(node);
        let rows = rows_of(node);
        has_all(&rows, &acked, "acknowledged");
        no_duplicates(&rows);
    }
    nodes.iter().for_each(|node| node.close_blocking().unwrap());
}
