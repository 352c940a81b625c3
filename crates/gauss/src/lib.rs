//! Expectations of functions of Gaussian vectors.
