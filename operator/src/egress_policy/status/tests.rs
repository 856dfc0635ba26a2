//! Rows for status.
