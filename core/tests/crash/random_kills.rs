use std::collections::BTreeSet;

use crate::process::Process;
use crate::support::{PATIENCE, Site, has_all, insert, is_whole, no_duplicates, rows_in_tail, rows_of};

/// Which node is killed in each round, and after how many acknowledged rows of it; a fixed seed's.
const KILLS: [(usize, usize); 10] =
    [(0, 30), (1, 12), (0, 1), (2, 40), (1, 7), (2, 0), (0, 25), (1, 33), (2, 3), (0, 18)];

#[test]
fn three_nodes_that_are_killed_again_and_again_end_equal_with_every_confirmed_row_once() {
    let site = Site::new();
    let names = ["a", "b", "c"];
    let mut lives = 0;
    let mut start = |name: &str| {
        let mut process = site.start(name);
        // Numbers that no other process has.
        lives += 1;
        process.tell(&format!("loop {}", lives * 100_000));
        process
    };
    let mut nodes: Vec<Process> = names.iter().map(|name| start(name)).collect();
    let (mut confirmed, mut acked, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let mut bury = |node: &mut Process| {
        node.kill();
        confirmed.extend(node.numbers("confirmed"));
        acked.extend(node.numbers("acked"));
        refused.extend(
            node.said()
                .iter()
                .filter(|line| line.contains(" NotCommitted "))
                .filter_map(|line| line.strip_prefix("failed ")?.split(' ').next()?.parse::<i64>().ok()),
        );
    };
    for (victim, rows) in KILLS {
        crate::support::eventually("the node's writes are acknowledged", || {
            nodes[victim].numbers("acked").len() > rows
        });
        bury(&mut nodes[victim]);
        nodes[victim] = start(names[victim]);
    }
    nodes.iter_mut().for_each(&mut bury);
    assert!(confirmed.len() > 100, "only {} rows were confirmed", confirmed.len());

    let nodes: Vec<_> = names.iter().map(|name| site.open(name)).collect();
    let last = insert(&nodes[0], -1, 100).unwrap();
    for node in &nodes {
        node.wait_for_blocking(&last, PATIENCE).unwrap();
        is_whole(node);
    }
    let rows = rows_of(&nodes[0]);
    assert!(nodes.iter().all(|node| rows_of(node) == rows), "the nodes differ");
    no_duplicates(&rows);
    has_all(&rows, &confirmed, "confirmed");
    let tails = nodes.iter().flat_map(|node| node.status().lost_tails);
    let saved: BTreeSet<i64> = tails.flat_map(|tail| rows_in_tail(&tail)).collect();
    let gone: Vec<&i64> = acked.iter().filter(|n| !rows.contains_key(n) && !saved.contains(n)).collect();
    assert!(gone.is_empty(), "acknowledged, lost and not saved: {gone:?}");
    let risen: Vec<&i64> = refused.iter().filter(|n| rows.contains_key(n)).collect();
    assert!(risen.is_empty(), "not committed, and there: {risen:?}");
    nodes.iter().for_each(|node| node.close_blocking().unwrap());
    drop(nodes);
    names.iter().for_each(|name| site.is_at_the_end(name));
}
