use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use super::help;
use crate::types::Timestamp;

/// SQLite that survives the loss of its machine: the tools for its log in a bucket.
#[derive(Parser)]
#[command(name = "haqlite", version, after_help = help::ALL)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Print JSON: one document, or one a line where it is a stream
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a database file from the log alone
    #[command(after_help = help::RESTORE)]
    Restore(RestoreArguments),
    /// List the files of the log
    #[command(after_help = help::LIST)]
    List(ListArguments),
    /// Show what the log is and what can be restored
    #[command(after_help = help::INFO)]
    Info(InfoArguments),
    /// Read the whole log and check every file and every link
    #[command(after_help = help::VERIFY)]
    Verify(VerifyArguments),
    /// Make a snapshot of the log's end
    #[command(after_help = help::SNAPSHOT)]
    Snapshot(SnapshotArguments),
    /// Compact the files of the level below into one
    #[command(after_help = help::COMPACT)]
    Compact(CompactArguments),
    /// Keep a local read-only copy current
    #[command(after_help = help::FOLLOW, visible_alias = "replicate")]
    Follow(FollowArguments),
    /// Show which log is meant, and where each part of that came from
    #[command(after_help = help::EXPLAIN)]
    Explain(ExplainArguments),
    /// Serve leases and manifests over HTTP
    #[command(after_help = help::STORE_SERVER)]
    StoreServer(StoreServerArguments),
}

/// Which log is meant.
#[derive(Args)]
pub(super) struct LogArguments {
    /// The bucket: s3://bucket/prefix or file:///folder [default: HAQLITE_STORAGE_URL]
    pub(super) url: Option<String>,
    /// The database's name in the bucket
    #[arg(long, short)]
    pub(super) name: Option<String>,
    /// What stands before the name [default: haqlite/]
    #[arg(long)]
    pub(super) prefix: Option<String>,
    /// The URL is the log's own folder, as Litestream has it: no prefix, no name
    #[arg(long, conflicts_with_all = ["name", "prefix"])]
    pub(super) bare: bool,
    /// The S3 server, if it is not Amazon's [default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    pub(super) endpoint: Option<String>,
    /// The S3 region [default: AWS_REGION, AWS_DEFAULT_REGION, the profile]
    #[arg(long)]
    pub(super) region: Option<String>,
    /// Where the log's manifest is, if it has one [default: HAQLITE_MANIFEST_URL]
    #[arg(long, value_name = "URL")]
    pub(super) manifest: Option<String>,
}

#[derive(Args)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
    /// The file to make
    #[arg(long, short, value_name = "PATH")]
    pub(super) output: PathBuf,
    /// Up to this slot [default: the newest]
    #[arg(long, conflicts_with = "timestamp", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) txid: Option<u64>,
    /// Up to the last slot of this moment or before, as 2026-11-22T18:30:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) timestamp: Option<Timestamp>,
    /// Replace a database at the path, if nobody has it open
    #[arg(long, short)]
    pub(super) force: bool,
    /// How SQLite checks the result before it gets its name
    #[arg(long, value_enum, default_value_t = CheckArgument::Quick)]
    pub(super) check: CheckArgument,
    /// If the log is damaged, restore what comes before the damage
    #[arg(long)]
    pub(super) last_good: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckArgument {
    /// Not at all
    None,
    /// PRAGMA quick_check
    Quick,
    /// PRAGMA integrity_check
    Full,
}

#[derive(Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
    /// Only files of this level: 0 slots, 1 to 8 compactions, 9 snapshots
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    pub(super) level: Option<u8>,
}

#[derive(Args)]
pub(super) struct InfoArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
    /// Also restore it into a temporary file in this folder, and have SQLite check that
    #[arg(long, value_name = "FOLDER")]
    pub(super) restore_in: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct SnapshotArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args)]
pub(super) struct CompactArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
    /// The level to make a file of
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(super) level: u8,
}

#[derive(Args)]
pub(super) struct FollowArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
    /// The copy
    #[arg(long, short, value_name = "PATH")]
    pub(super) output: PathBuf,
    /// End as soon as the copy is current
    #[arg(long)]
    pub(super) once: bool,
    /// Look for new slots every so many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) interval: u64,
    /// Take a restored copy at the path: it is compared page by page, differences are saved beside it
    #[arg(long)]
    pub(super) adopt: bool,
}

#[derive(Args)]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args)]
#[command(group(ArgGroup::new("place").required(true)))]
pub(super) struct StoreServerArguments {
    /// The folder to keep the values in; made if it is not there
    #[arg(long, value_name = "FOLDER", group = "place")]
    pub(super) data: Option<PathBuf>,
    /// Keep nothing: for tests
    #[arg(long, group = "place")]
    pub(super) memory: bool,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,
    /// A token that clients may show; may be given several times [default: HAQLITE_STORE_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Vec<String>,
    /// Speak TLS with these certificates (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// The private key of the certificates (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Keys that are kept, with those that were deleted
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(super) max_keys: usize,
    /// Connections that are open at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = connections)]
    pub(super) max_connections: usize,
}

/// A quarter of them is not for those who wait for changes.
fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 4..=100_000) => Ok(number),
        _ => Err("it is a number from 4 to 100000".to_owned()),
    }
}
