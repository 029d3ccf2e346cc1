//! Decisions about the log: catch-up, shipping, positions, the journal. Pure.
