//! The bucket: made if it is not there, and judged.

use std::fmt;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{self, NewStream, Refusal, StreamConfig, StreamInfo};
use super::link::Link;
use super::target::Target;
use crate::types::{Error, ErrorKind, Result};

/// The most versions of a key that NATS's own tools let a bucket keep.
const MAX_HISTORY: i64 = 64;

/// What NATS's own tools advise for a cluster, and what survives the loss of a server.
const CLUSTER_REPLICAS: usize = 3;

/// A setting of the bucket that can lose writes which were acknowledged, or that grows without bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NatsWarning {
    /// One server has all of it. JetStream acknowledges before it syncs to the disk, by default every two minutes
    /// (`sync_interval`): a power cut loses what came since, and the loss of the server all. Whether the server has
    /// `sync_interval: always` cannot be seen from here, so this is said of every bucket with one replica.
    SingleReplica,
    /// The registers are gone when the servers that have them restart.
    MemoryStorage,
    /// A full bucket makes room by deleting its oldest registers.
    DiscardsOldest,
    /// Writes are acknowledged before they are written (`persist_mode: async`).
    AsyncPersistence,
    /// Every version of every register is kept.
    UnboundedHistory,
}

impl fmt::Display for NatsWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NatsWarning::SingleReplica => {
                "it has one replica: a power cut loses acknowledged writes unless the server has \
                 `sync_interval: always`, and the loss of the server loses all"
            }
            NatsWarning::MemoryStorage => "it is in memory: a restart of its servers loses all",
            NatsWarning::DiscardsOldest => "when it is full it deletes its oldest registers (discard: old)",
            NatsWarning::AsyncPersistence => {
                "it acknowledges writes before they are written (persist_mode: async)"
            }
            NatsWarning::UnboundedHistory => "it keeps every version of every register, without bound",
        })
    }
}

/// Finds the bucket, or makes it. `StoreUnfit` if its settings cannot keep registers.
pub(super) async fn open_bucket(link: &Link, target: &Target) -> Result<Vec<NatsWarning>> {
    let stream = target.stream();
    let look_up = format!("$JS.API.STREAM.INFO.{stream}");
    let info = match call::<StreamInfo>(link, &look_up, Bytes::new()).await? {
        Ok(info) => info,
        Err(refusal) if refusal.err_code == api::STREAM_NOT_FOUND => {
            let create = format!("$JS.API.STREAM.CREATE.{stream}");
            let body = json(&new_bucket(link, target))?;
            match call::<StreamInfo>(link, &create, body).await? {
                Ok(info) => {
                    tracing::info!(bucket = target.bucket, "a bucket of NATS was made");
                    info
                }
                // Somebody else made it a moment ago, in another way.
                Err(refusal) if refusal.err_code == api::STREAM_NAME_IN_USE => {
                    call::<StreamInfo>(link, &look_up, Bytes::new()).await?.map_err(Refusal::into_error)?
                }
                Err(refusal) => {
                    return Err(refusal.into_error().context("the bucket cannot be made"));
                }
            }
        }
        Err(refusal) => return Err(refusal.into_error()),
    };
    judge(&info.config, &target.bucket)
}

/// Asks JetStream.
pub(super) async fn call<T: DeserializeOwned>(
    link: &Link,
    subject: &str,
    body: Bytes,
) -> Result<Result<T, Refusal>> {
    api::answer(&link.ask(subject, HeaderMap::new(), body).await?)
}

pub(super) fn json(value: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "a request cannot be written").with_source(e))?;
    Ok(Bytes::from(bytes))
}

/// A KV bucket as NATS's ADR-8 has it, but for direct gets, which any replica may answer with something old.
fn new_bucket(link: &Link, target: &Target) -> NewStream {
    let in_cluster = link.client.server_info().cluster.is_some();
    NewStream {
        name: target.stream(),
        description: "leases and manifests of haqlite",
        subjects: [subjects(&target.bucket)],
        retention: "limits",
        storage: "file",
        discard: "new",
        num_replicas: target.replicas.unwrap_or(if in_cluster { CLUSTER_REPLICAS } else { 1 }),
        max_msgs_per_subject: 1,
        max_msgs: -1,
        max_bytes: -1,
        max_msg_size: -1,
        max_consumers: -1,
        max_age: 0,
        allow_rollup_hdrs: true,
        deny_delete: true,
        allow_direct: false,
    }
}

fn subjects(bucket: &str) -> String {
    format!("$KV.{bucket}.>")
}

fn judge(config: &StreamConfig, bucket: &str) -> Result<Vec<NatsWarning>> {
    let unfit = |why: &str| Err(Error::new(ErrorKind::StoreUnfit, format!("the bucket is unfit: {why}")));
    if config.mirror.is_some() || config.sources.is_some() {
        return unfit("it is a copy of others (mirror, sources)");
    }
    if !config.subjects.contains(&subjects(bucket)) {
        return unfit("the stream of its name is no key-value bucket");
    }
    if config.max_age > 0 {
        return unfit("its entries expire (max_age, --ttl), registers never may");
    }
    if config.retention != "limits" {
        return unfit("its entries vanish when they were read (retention)");
    }
    if config.sealed || config.no_ack {
        return unfit("it takes no writes, or acknowledges none (sealed, no_ack)");
    }
    let mut warnings = Vec::new();
    if config.storage == "memory" {
        warnings.push(NatsWarning::MemoryStorage);
    }
    if config.num_replicas <= 1 {
        warnings.push(NatsWarning::SingleReplica);
    }
    if config.discard != "new" && (config.max_msgs > 0 || config.max_bytes > 0) {
        warnings.push(NatsWarning::DiscardsOldest);
    }
    if config.persist_mode.as_deref() == Some("async") {
        warnings.push(NatsWarning::AsyncPersistence);
    }
    if !(1..=MAX_HISTORY).contains(&config.max_msgs_per_subject) {
        warnings.push(NatsWarning::UnboundedHistory);
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says of a bucket, with some fields changed.
    fn judged(changed: &str) -> Result<Vec<NatsWarning>> {
        let mut config: serde_json::Value = serde_json::from_str(
            r#"{"name":"KV_b","subjects":["$KV.b.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,
                "max_bytes":-1,"max_age":0,"max_msgs_per_subject":1,"max_msg_size":-1,"discard":"new",
                "storage":"file","num_replicas":3,"duplicate_window":120000000000,"compression":"none",
                "allow_direct":true,"mirror_direct":false,"sealed":false,"deny_delete":true,"deny_purge":false}"#,
        )
        .unwrap();
        let changed: serde_json::Value = serde_json::from_str(changed).unwrap();
        for (name, value) in changed.as_object().unwrap() {
            config[name] = value.clone();
        }
        judge(&serde_json::from_value(config).unwrap(), "b")
    }

    #[test]
    fn settings_that_can_lose_writes_are_told() {
        assert_eq!(judged("{}").unwrap(), []);
        assert_eq!(judged(r#"{"num_replicas":1}"#).unwrap(), [NatsWarning::SingleReplica]);
        assert_eq!(judged(r#"{"storage":"memory"}"#).unwrap(), [NatsWarning::MemoryStorage]);
        assert_eq!(judged(r#"{"discard":"old"}"#).unwrap(), []);
        assert_eq!(judged(r#"{"discard":"old","max_bytes":9}"#).unwrap(), [NatsWarning::DiscardsOldest]);
        assert_eq!(judged(r#"{"discard":"old","max_msgs":9}"#).unwrap(), [NatsWarning::DiscardsOldest]);
        assert_eq!(judged(r#"{"persist_mode":"async"}"#).unwrap(), [NatsWarning::AsyncPersistence]);
        assert_eq!(judged(r#"{"max_msgs_per_subject":-1}"#).unwrap(), [NatsWarning::UnboundedHistory]);
    }

    #[test]
    fn settings_that_cannot_keep_registers_are_refused() {
        for changed in [
            r#"{"max_age":1}"#,
            r#"{"retention":"interest"}"#,
            r#"{"retention":"workqueue"}"#,
            r#"{"sealed":true}"#,
            r#"{"no_ack":true}"#,
            r#"{"mirror":{"name":"KV_a"}}"#,
            r#"{"sources":[{"name":"KV_a"}]}"#,
            r#"{"subjects":["other.>"]}"#,
        ] {
            assert_eq!(judged(changed).unwrap_err().kind(), ErrorKind::StoreUnfit, "{changed}");
        }
    }
}
