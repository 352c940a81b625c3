//! Regression, Gaussian-process inference and gradient flow from kernel matrices.
