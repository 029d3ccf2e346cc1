//! The handle and the builder: what applications see.
