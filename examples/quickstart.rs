//! The quick start: one line makes a SQLite database one that survives the loss of its machine.
//!
//! `cargo run -p haqlite --example quickstart`. The bucket is a folder here; `s3://my-bucket` is the same line.

use haqlite::{HaQLite, SqlValue};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let bucket = format!("file://{}", folder.path().join("bucket").display());

    let db = HaQLite::builder()
        .bucket(bucket)
        .open(
            folder.path().join("my.db"),
            "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT);",
        )
        .await?;

    // Writes: forwarded to the leader automatically.
    let added = db.execute("INSERT INTO users (name) VALUES (?1)", &[SqlValue::Text("Alice".into())])?;

    // Reads: always local.
    let count: i64 = db.query_row_local("SELECT COUNT(*) FROM users", &[], |row| row.get(0))?;
    println!("{count} user; this node is the {:?}", db.role());

    // Not needed in general, but now Alice survives the loss of this machine.
    db.wait_durable(&added.bookmark, std::time::Duration::from_secs(10)).await?;
    println!("slot {} of the log has Alice", added.bookmark.txid);

    // Clean shutdown: another node takes over at once.
    db.close().await?;
    Ok(())
}
