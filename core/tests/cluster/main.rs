//! Nodes of one process on one bucket: what a cluster promises, seen from outside.

mod basics;
mod support;
