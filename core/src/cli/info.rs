use serde::Serialize;

use super::arguments::InfoArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::list::FileDocument;
use super::output::Output;
use super::text;
use super::which_log::{WhichLog, tool_for};
use crate::database::{LogInfo, LogTools, RestorePoint};

#[derive(Serialize)]
struct Document {
    log: String,
    database: Option<String>,
    page_size: Option<u32>,
    oldest: Option<PointDocument>,
    newest: Option<PointDocument>,
    epochs: Vec<EpochDocument>,
    floor: u64,
    lease: Option<LeaseDocument>,
    bytes: u64,
    levels: Vec<LevelDocument>,
    snapshot: Option<FileDocument>,
    damage: Option<String>,
}

#[derive(Serialize)]
struct PointDocument {
    txid: u64,
    timestamp: String,
}

#[derive(Serialize)]
struct EpochDocument {
    epoch: u64,
    first: u64,
}

#[derive(Serialize)]
struct LeaseDocument {
    holder: String,
    address: String,
    epoch: u64,
    ttl_ms: u64,
    released: bool,
}

#[derive(Serialize)]
struct LevelDocument {
    level: u8,
    files: u64,
    bytes: u64,
    min: u64,
    max: u64,
}

pub(super) fn run(arguments: &InfoArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.complete(None)?;
    let info = tool_for!(LogTools, &log).info()?;
    output.result(&document(&info), &for_people(&info))?;
    Ok(if info.damage.is_some() { ExitCode::Damaged } else { ExitCode::Ok })
}

fn document(info: &LogInfo) -> Document {
    let point = |point: RestorePoint| PointDocument {
        txid: point.txid.get(),
        timestamp: point.timestamp.to_string(),
    };
    let epochs = info.epochs.iter();
    let levels = info.levels.iter().map(|level| LevelDocument {
        level: level.level,
        files: level.files,
        bytes: level.bytes,
        min: level.min.get(),
        max: level.max.get(),
    });
    let lease = info.lease.as_ref().map(|lease| LeaseDocument {
        holder: lease.holder.to_string(),
        address: lease.address.clone(),
        epoch: lease.epoch.get(),
        ttl_ms: u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX),
        released: lease.released,
    });
    Document {
        log: info.log.clone(),
        database: info.database.clone(),
        page_size: info.page_size,
        oldest: info.oldest.map(point),
        newest: info.newest.map(point),
        epochs: epochs
            .map(|(epoch, first)| EpochDocument { epoch: epoch.get(), first: first.get() })
            .collect(),
        floor: info.floor.get(),
        lease,
        bytes: info.bytes,
        levels: levels.collect(),
        snapshot: info.snapshot.as_ref().map(FileDocument::of),
        damage: info.damage.clone(),
    }
}

fn for_people(info: &LogInfo) -> String {
    let point = |point: Option<RestorePoint>| match point {
        Some(point) => format!("slot {}, {}", point.txid, point.timestamp),
        None => "none".to_owned(),
    };
    let database = match (&info.database, info.page_size) {
        (Some(id), Some(size)) => format!("{id}, pages of {size} bytes"),
        _ => "written by another tool".to_owned(),
    };
    let lease = match &info.lease {
        Some(lease) if lease.released => format!("released by {} in epoch {}", lease.holder, lease.epoch),
        Some(lease) => format!("{} at {}, epoch {}", lease.holder, lease.address, lease.epoch),
        None => "not kept beside the log".to_owned(),
    };
    let epochs: Vec<String> =
        info.epochs.iter().map(|(epoch, first)| format!("{epoch} from slot {first}")).collect();
    let mut pairs = vec![
        ("log", info.log.clone()),
        ("database", database),
        ("oldest state", point(info.oldest)),
        ("newest state", point(info.newest)),
        ("lease", lease),
        ("epochs", epochs.join(", ")),
        ("slots gone up to", info.floor.to_string()),
    ];
    for level in &info.levels {
        let kind = match level.level {
            0 => "slots",
            9 => "snapshots",
            _ => "compacted",
        };
        let files = if level.files == 1 { "file" } else { "files" };
        let range = format!("slots {} to {}", level.min, level.max);
        let value =
            format!("level {}: {} {files}, {}, {range}", level.level, level.files, text::bytes(level.bytes));
        pairs.push((kind, value));
    }
    if let Some(damage) = &info.damage {
        pairs.push(("DAMAGE", damage.clone()));
    }
    text::pairs(&pairs)
}
