use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use haqlite::bucket::{Bucket, Call, Fault, FaultyBucket, Key, MemoryBucket};
use haqlite::{ErrorKind, Event, HaQLite, Verify, VerifyReport};

use crate::written::{Written, facts_key, file_key, slot_key};

fn verify(written: &Written) -> VerifyReport {
    Verify::from_bucket(Arc::clone(&written.bucket)).db_name("app").run().unwrap()
}

/// A log with everything: a snapshot, compactions of two levels, slots that were deleted, fences that stay.
fn kept() -> Written {
    let written = Written::with_a_life();
    written.snapshot(3);
    written.compact(1, 2, 4);
    written.compact(1, 5, 6);
    written.compact(1, 7, 8);
    written.compact(2, 5, 8);
    written.snapshot(6);
    written.retire(6);
    written
}

#[test]
fn healthy_logs_have_no_problems() {
    let written = Written::with_a_life();
    let report = verify(&written);
    assert_eq!((report.problems.as_slice(), report.slots), ([].as_slice(), 10));
    assert_eq!((report.end.txid.get(), report.end.chain), (10, written.chains[10]));
    assert_eq!(report.unexplained, Vec::<String>::new());

    let written = kept();
    let report = Verify::from_bucket(Arc::clone(&written.bucket))
        .db_name("app")
        .restore_in(written.folder.path())
        .run()
        .unwrap();
    assert_eq!(report.problems, []);
    assert!(report.restored && report.is_healthy());
    assert_eq!(
        (report.slots, report.compactions, report.snapshots),
        (4 + 2, 4, 2),
        "fences are read as well"
    );
    assert_eq!((report.end.txid.get(), report.end.chain), (10, written.chains[10]));
    assert_eq!(report.end.epoch.get(), 2);
    let left: Vec<_> =
        std::fs::read_dir(written.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["source.db"]);
}

#[test]
fn each_damage_of_each_object_is_found_with_its_key() {
    let written = kept();
    let objects = [
        file_key(9, 1, 3),
        file_key(9, 1, 6),
        file_key(1, 2, 4),
        file_key(1, 5, 6),
        file_key(1, 7, 8),
        file_key(2, 5, 8),
        slot_key(1),
        slot_key(5),
        slot_key(7),
        slot_key(10),
        facts_key(1, 5, 6),
    ];
    for object in &objects {
        let whole = written.get(object);
        let is_facts = matches!(object, Key::Facts { .. });
        let file = if is_facts { file_key(1, 5, 6) } else { object.clone() };
        let mut damages = vec![("empty", Vec::new()), ("cut", whole[..whole.len() / 2].to_vec())];
        for byte in [1, 30, 81, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[byte] ^= 2;
            damages.push(("flipped", bytes));
        }
        if !is_facts {
            damages.push(("swapped", written.get(&slot_key(8))));
        }
        for (what, damaged) in damages {
            written.put(object, damaged);
            let report = verify(&written);
            let key = written.key(&file);
            assert!(report.problems.iter().any(|p| p.key == key), "{what} {key}: {:?}", report.problems);
        }
        written.put(object, whole);
    }
    assert_eq!(verify(&written).problems, [], "it was put back as it was");
}

#[test]
fn what_is_missing_is_found() {
    let written = kept();
    // Slots 7 and 8 are in compactions as well.
    for (missing, found) in [(slot_key(9), slot_key(9)), (slot_key(10), file_key(1, 7, 10))] {
        if found != missing {
            written.compact(1, 7, 10);
        }
        let whole = written.get(&missing);
        written.delete(&missing);
        let report = verify(&written);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert_eq!(report.problems[0].key, written.key(&found));
        written.put(&missing, whole);
    }
    written.delete(&facts_key(1, 5, 6));
    let report = verify(&written);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].key, written.key(&file_key(1, 5, 6)));
}

#[test]
fn a_slot_that_is_missing_is_found_although_others_lead_past_it_and_what_is_behind_it_is_needed() {
    let written = kept();
    for (missing, said) in [(vec![7], "slot 7 is missing"), (vec![7, 8], "slots 7 to 8 are missing")] {
        let whole: Vec<_> = missing.iter().map(|slot| written.get(&slot_key(*slot))).collect();
        missing.iter().for_each(|slot| written.delete(&slot_key(*slot)));
        let report = verify(&written);
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert_eq!(report.problems[0].key, written.key(&slot_key(7)));
        assert!(report.problems[0].message.starts_with(said), "{:?}", report.problems);
        assert_eq!((report.end.txid.get(), report.unexplained), (10, Vec::new()));
        missing.iter().zip(whole).for_each(|(slot, bytes)| written.put(&slot_key(*slot), bytes));
    }
    assert!(verify(&written).is_healthy());

    // Above no floor, and behind a snapshot that leads far: the slots from 4 on lead nowhere without slot 3.
    let written = Written::with_a_life();
    written.snapshot(8);
    let whole = written.get(&slot_key(3));
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    written.put(&slot_key(3), damaged);
    let report = verify(&written);
    assert_eq!(report.problems.iter().map(|p| &p.key).collect::<Vec<_>>(), [&written.key(&slot_key(3))]);
    assert_eq!(report.unexplained, Vec::<String>::new());
    written.delete(&slot_key(3));
    written.delete(&slot_key(1));
    let report = verify(&written);
    let keys: Vec<&String> = report.problems.iter().map(|problem| &problem.key).collect();
    assert_eq!(keys, [&written.key(&slot_key(1)), &written.key(&slot_key(3))]);
    assert_eq!(report.unexplained, Vec::<String>::new());
}

#[test]
fn a_listing_that_lags_makes_no_slot_missing() {
    let written = Written::with_a_life();
    let bucket: Arc<dyn Bucket> = Arc::clone(&written.bucket);
    let listings = AtomicUsize::new(0);
    let (whole, inner) = (written.get(&slot_key(4)), Arc::clone(&bucket));
    written.delete(&slot_key(4));
    written.snapshot(6);
    let key = written.key(&slot_key(4));
    let faulty = FaultyBucket::new(bucket, move |call| match call {
        Call::List { prefix } if prefix.ends_with("ltx/0/") => {
            if listings.fetch_add(1, Ordering::SeqCst) == 0 {
                return Fault::None;
            }
            // It shows what was there at the first listing; meanwhile there is more.
            let (inner, key, body) = (Arc::clone(&inner), key.clone(), whole.clone());
            let put = move || {
                let body = haqlite::bucket::Body::Bytes(body.into());
                let options = haqlite::bucket::PutOptions::new(haqlite::bucket::PutMode::Overwrite);
                crate::written::wait(inner.put(&key, body, options)).unwrap();
            };
            std::thread::spawn(put).join().unwrap();
            Fault::Stale
        }
        _ => Fault::None,
    });
    let report = Verify::from_bucket(faulty).db_name("app").run().unwrap();
    assert_eq!(report.problems, []);
}

#[test]
fn a_file_of_another_history_is_found_whatever_is_kept_beside_it() {
    let written = kept();
    let mut other = Written::new();
    other.live();
    other.compact(1, 5, 6);
    written.put(&file_key(1, 5, 6), other.get(&file_key(1, 5, 6)));
    written.put(&facts_key(1, 5, 6), other.get(&facts_key(1, 5, 6)));
    let report = verify(&written);
    let keys: Vec<&str> = report.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert!(keys.contains(&written.key(&file_key(1, 5, 6)).as_str()), "{:?}", report.problems);
}

#[test]
fn what_nobody_can_explain_is_named_and_no_problem() {
    let written = kept();
    let options = || haqlite::bucket::PutOptions::new(haqlite::bucket::PutMode::Create);
    for name in ["notes.txt", "ltx/0/readme", "ltx/1/1-2.ltx"] {
        let key = format!("{}{name}", crate::written::ROOT);
        let body = haqlite::bucket::Body::Bytes(b"x".to_vec().into());
        crate::written::wait(written.bucket.put(&key, body, options())).unwrap();
    }
    written.compact(1, 3, 3);
    written.delete(&file_key(1, 2, 4));
    written.delete(&file_key(9, 1, 3));
    written.snapshot(4);
    let report = verify(&written);
    assert_eq!(report.problems, []);
    let expected =
        ["ltx/0/readme", "ltx/1/0000000000000003-0000000000000003.ltx", "ltx/1/1-2.ltx", "notes.txt"];
    let mut found = report.unexplained;
    found.sort();
    assert_eq!(found, expected.map(|name| format!("{}{name}", crate::written::ROOT)));
}

#[test]
fn what_retention_deletes_meanwhile_is_no_problem() {
    let written = Written::with_a_life();
    let bucket: Arc<dyn Bucket> = Arc::clone(&written.bucket);
    let retired = Arc::new(AtomicUsize::new(0));
    let (once, slot) = (Arc::clone(&retired), written.key(&slot_key(3)));
    let floor = written.key(&Key::Floor);
    let slots: Vec<String> = (2..=4).map(|slot| written.key(&slot_key(slot))).collect();
    // The compaction is there, and not in the first listing; the slots go while they are read.
    written.snapshot(1);
    written.compact(1, 2, 4);
    let inner = Arc::clone(&bucket);
    let listings = AtomicUsize::new(0);
    let faulty = FaultyBucket::new(bucket, move |call| match call {
        Call::List { prefix }
            if prefix.ends_with("ltx/1/") && listings.fetch_add(1, Ordering::SeqCst) == 0 =>
        {
            Fault::Stale
        }
        Call::Get { key } if *key == slot && once.fetch_add(1, Ordering::SeqCst) == 0 => {
            let (inner, slots, floor) = (Arc::clone(&inner), slots.clone(), floor.clone());
            let retire = move || {
                let body = haqlite::bucket::Body::Bytes(br#"{"floor":4}"#.to_vec().into());
                let options = haqlite::bucket::PutOptions::new(haqlite::bucket::PutMode::Overwrite);
                crate::written::wait(inner.put(&floor, body, options)).unwrap();
                for key in &slots {
                    crate::written::wait(inner.delete(key, None)).unwrap();
                }
            };
            std::thread::spawn(retire).join().unwrap();
            Fault::None
        }
        _ => Fault::None,
    });
    let report = Verify::from_bucket(faulty).db_name("app").run().unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.compactions, 1);
    assert_ne!(retired.load(Ordering::SeqCst), 0);
}

#[test]
fn a_store_that_is_away_is_an_error_and_no_problem() {
    let written = kept();
    let bucket: Arc<dyn Bucket> = Arc::clone(&written.bucket);
    let faulty = FaultyBucket::new(bucket, |call| match call {
        Call::Get { key } if key.ends_with("9.ltx") => Fault::Refuse,
        _ => Fault::None,
    });
    let error = Verify::from_bucket(faulty).db_name("app").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
}

#[test]
fn a_leader_verifies_its_log_and_reports_damage_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = MemoryBucket::new();
    let db = HaQLite::builder()
        .storage(bucket.clone())
        .lease_url("memory://verify-lease")
        .db_name("app")
        .forwarding_port(0)
        .verify_interval(Duration::from_millis(100))
        .open_blocking(folder.path().join("app.db"), "CREATE TABLE IF NOT EXISTS t (a)")
        .unwrap();
    let degraded = Arc::new(AtomicUsize::new(0));
    let recovered = Arc::new(AtomicUsize::new(0));
    let (down, up) = (Arc::clone(&degraded), Arc::clone(&recovered));
    let _subscription = db
        .subscribe(move |event| match event {
            Event::Degraded(ErrorKind::Corrupt) => drop(down.fetch_add(1, Ordering::SeqCst)),
            Event::Recovered => drop(up.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        })
        .unwrap();
    let bookmark = db.execute("INSERT INTO t VALUES (1)", &[]).unwrap().bookmark;
    db.wait_durable_blocking(&bookmark, Duration::from_secs(10)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(db.status().last_error, None, "a healthy log");

    let key = Key::slot(haqlite::types::Txid::new(1)).path("haqlite/app/", bucket.layout());
    let whole = crate::written::wait(bucket.get(&key, haqlite::bucket::Range::Whole)).unwrap().unwrap().body;
    let mut damaged = whole.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let put = |bytes: Vec<u8>| {
        let options = haqlite::bucket::PutOptions::new(haqlite::bucket::PutMode::Overwrite);
        crate::written::wait(bucket.put(&key, haqlite::bucket::Body::Bytes(bytes.into()), options)).unwrap();
    };
    put(damaged);
    until("damage is reported", || db.status().last_error.is_some());
    let (kind, message) = db.status().last_error.unwrap();
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(message.contains(&key), "{message}");
    until("subscribers hear of it", || degraded.load(Ordering::SeqCst) == 1);
    db.execute("INSERT INTO t VALUES (2)", &[]).unwrap();
    put(whole.to_vec());
    until("it is gone", || db.status().last_error.is_none());
    until("subscribers hear of that", || recovered.load(Ordering::SeqCst) == 1);
    db.close_blocking().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
