//! Tensor programs and networks at finite width.
