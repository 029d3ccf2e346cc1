//! The log's file format, LTX version 3: streaming encoder, decoder and merge. Pure.
