//! The laboratory.

mod reproduce;
