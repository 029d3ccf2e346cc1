//! How a node asks another over HTTP.
