//! One file a subcommand.

pub(crate) mod certify;
pub(crate) mod completions;
pub(crate) mod coordcheck;
pub(crate) mod fmt;
pub(crate) mod kernel;
pub(crate) mod limit;
pub(crate) mod nth;
pub(crate) mod ntk;
pub(crate) mod predict;
pub(crate) mod reproduce;
pub(crate) mod show;
pub(crate) mod train;
pub(crate) mod transform;
pub(crate) mod tune;
