//! Every lease and manifest store keeps its laws on a real server, also when the server goes away and comes back.
//!
//! The servers are started here, on ports of their own, so that tests may stop and kill them: `make test` says where
//! their programs are. A program that is missing is a failure.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod etcd_nodes;
mod failover;
mod http;
#[cfg(feature = "nats")]
mod nats;
mod outages;
mod place;
mod restored_lease;
mod stage;
mod support;
