//! The one place that spawns tasks and threads and reads the clock: it performs what the pure floors decide.
