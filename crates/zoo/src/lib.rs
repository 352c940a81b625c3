//! Architectures as networks.
