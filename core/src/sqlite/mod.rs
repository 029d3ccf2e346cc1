//! SQLite: connections, the write gate, WAL capture and WAL injection. The only floor with `unsafe`.
#![allow(unsafe_code)]
