//! Readers of golden files and the checks that the integration tests share.
