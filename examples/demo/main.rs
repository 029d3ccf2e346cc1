//! Three nodes in one terminal: all of them write, the leader is killed, nothing that was confirmed is lost.
//!
//! `cargo run -p haqlite --example demo -- [BUCKET]`, where BUCKET is a folder or a URL as
//! `s3://bucket/prefix`; without it everything is in a temporary folder. Every node is a process of its own,
//! with the default settings. It ends with 0 if every check is ok.

mod checks;
mod cluster;
mod ledger;
mod node;
mod pause;
mod process;
mod timeline;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use cluster::Cluster;
use haqlite::types::Epoch;
use pause::Pause;
use timeline::Timeline;

/// The nodes' names; elsewhere a node is its place in this list.
const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// So many rows have to be confirmed in the end.
const ENOUGH: u64 = 10_000;
/// The leader is killed when it has acknowledged so many rows that it has not shipped.
const UNSHIPPED: u64 = 200;
/// After the death of a leader: its lease's 5 s, what others wait beyond them, the interval at which they
/// look, and half a second to take over.
const AFTER_KILL: Duration = Duration::from_millis(5000 + 1000 + 1000 + 500);
/// After a leader has let go.
const AFTER_RELEASE: Duration = Duration::from_millis(300);

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Where everything is.
#[derive(Clone)]
pub(crate) struct Place {
    folder: PathBuf,
    /// The bucket's URL.
    pub(crate) bucket: String,
    /// The database's name in the bucket: another one for each run.
    pub(crate) database: String,
}

impl Place {
    /// The node's folder, where its database is `app.db`.
    pub(crate) fn node(&self, node: usize) -> PathBuf {
        self.folder.join(NAMES[node])
    }

    /// The folder in which the checks work.
    pub(crate) fn checks(&self) -> PathBuf {
        self.folder.join("checks")
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((node::ARGUMENT, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return node::main(rest.to_vec());
    }
    match demo(arguments.first().map(String::as_str)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs it; whether every check was ok. Processes and the folder go with it, also after an error.
fn demo(bucket: Option<&str>) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("haqlite-demo-").tempdir()?;
    let timeline = Timeline::start();
    let place = Place {
        folder: folder.path().to_path_buf(),
        bucket: bucket_url(bucket, folder.path())?,
        database: format!("demo-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]),
    };
    let shown = place.bucket.split('?').next().unwrap_or_default();
    timeline.say(format_args!("three nodes, database {:?} in {shown}", place.database));
    let mut cluster = Cluster::new(place.clone(), timeline);
    let pauses = story(&mut cluster)?;
    timeline.say("all nodes are closed; now their files and the bucket are compared\n");

    for pause in &pauses {
        println!("{pause}");
    }
    println!();
    checks::all(&cluster, &place)
}

/// What happens to the cluster; how long it kept writes waiting.
fn story(cluster: &mut Cluster) -> Result<Vec<Pause>> {
    let mut pauses = Vec::new();
    cluster.start(0)?;
    cluster.wait_ready(0)?;
    cluster.start(1)?;
    cluster.start(2)?;
    cluster.wait_ready(1)?;
    cluster.wait_ready(2)?;
    for node in 0..NAMES.len() {
        cluster.write(node)?;
    }
    let (first, epoch) = cluster.wait_leader_after(Default::default())?;
    cluster.timeline.say(format_args!("{} leads epoch {epoch}; every node writes", NAMES[first]));
    cluster.run_for(Duration::from_secs(4))?;

    cluster.until("there is something to lose", |cluster| {
        let (acknowledged, confirmed) = cluster.ledger.counts();
        acknowledged - confirmed >= UNSHIPPED
    })?;
    let begin = cluster.timeline.now();
    cluster.kill(first)?;
    cluster.timeline.say(format_args!("kill -9 of {}, in the middle of its writes", NAMES[first]));
    let (second, epoch) = after(cluster, epoch)?;
    let survivors = others(first);
    cluster.run_for(Duration::from_secs(2))?;
    let what = format!("kill -9 of {}", NAMES[first]);
    pauses.push(Pause::measure(cluster, what, begin, survivors, AFTER_KILL)?);

    cluster.timeline.say(format_args!("{} is started again", NAMES[first]));
    cluster.start(first)?;
    cluster.wait_ready(first)?;
    see_everything(cluster, first)?;
    cluster.timeline.say(format_args!("{} has caught up, and writes", NAMES[first]));
    cluster.write(first)?;
    cluster.run_for(Duration::from_secs(2))?;

    let begin = cluster.timeline.now();
    cluster.timeline.say(format_args!("{} hands over to {}", NAMES[second], NAMES[first]));
    let handoff = cluster.call(second, &format!("handoff {}", NAMES[first]))?;
    cluster.answer(handoff)?;
    let (third, epoch) = after(cluster, epoch)?;
    cluster.run_for(Duration::from_secs(2))?;
    pauses.push(Pause::measure(cluster, "handoff".into(), begin, vec![0, 1, 2], AFTER_RELEASE)?);

    let begin = cluster.timeline.now();
    cluster.timeline.say(format_args!("{} is closed, as for an update", NAMES[third]));
    let close = cluster.call(third, "close")?;
    cluster.wait_end(third, close)?;
    after(cluster, epoch)?;
    cluster.run_for(Duration::from_secs(1))?;
    let what = format!("close of {}", NAMES[third]);
    pauses.push(Pause::measure(cluster, what, begin, others(third), AFTER_RELEASE)?);
    cluster.start(third)?;
    cluster.wait_ready(third)?;
    cluster.timeline.say(format_args!("{} is back, and writes", NAMES[third]));
    cluster.write(third)?;
    cluster.until("enough rows are confirmed", |cluster| cluster.ledger.counts().1 >= ENOUGH)?;

    finish(cluster)?;
    Ok(pauses)
}

/// Waits for the leader of the next epoch.
fn after(cluster: &mut Cluster, epoch: Epoch) -> Result<(usize, Epoch)> {
    let (leader, epoch) = cluster.wait_leader_after(epoch)?;
    cluster.timeline.say(format_args!("{} leads epoch {epoch}", NAMES[leader]));
    Ok((leader, epoch))
}

/// Ends the writes, waits until every node has all of them, and closes the nodes, the leader last.
fn finish(cluster: &mut Cluster) -> Result<()> {
    for node in 0..NAMES.len() {
        let pause = cluster.call(node, "pause")?;
        cluster.answer(pause)?;
    }
    cluster.timeline.say("the writes end; every node gets all of them and is closed");
    let (leader, epoch) = cluster.leader().ok_or("nobody leads in the end")?;
    cluster.until("the last rows are confirmed", |cluster| cluster.ledger.to_confirm(epoch).is_none())?;
    for node in others(leader) {
        see_everything(cluster, node)?;
        let close = cluster.call(node, "close")?;
        cluster.wait_end(node, close)?;
    }
    let close = cluster.call(leader, "close")?;
    cluster.wait_end(leader, close)
}

/// Waits until the node shows what has been acknowledged up to now.
fn see_everything(cluster: &mut Cluster, node: usize) -> Result<()> {
    let visible = format!("visible {}", cluster.ledger.newest());
    let call = cluster.call(node, &visible)?;
    cluster.answer(call)
}

fn others(node: usize) -> Vec<usize> {
    (0..NAMES.len()).filter(|&other| other != node).collect()
}

/// The URL of the bucket that was asked for: a folder, a URL, or a folder of the demo's own.
fn bucket_url(bucket: Option<&str>, folder: &Path) -> Result<String> {
    let folder = match bucket {
        Some(url) if url.contains("://") => return Ok(url.to_owned()),
        Some(folder) => std::path::absolute(folder)?,
        None => folder.join("bucket"),
    };
    Ok(url::Url::from_file_path(folder).map_err(|()| "the folder has no URL")?.into())
}
