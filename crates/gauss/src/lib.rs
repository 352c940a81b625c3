//! Expectations of functions of Gaussian vectors.
//!
//! The limit of a tensor program is made of numbers `E f(Z)` with `Z ~ N(0, C)` (TP IIb App. Def. B.3).
//! This crate takes such expectations and says how well it knows them; it knows no programs.
//!
//! * [`expect`] takes any function, in any number of slots: it finds the rank of the covariance (a repeated input, a zero variance or a correlation of ±1 are ordinary), then evaluates, integrates by quadrature, or averages over randomised Sobol' points.
//! * [`expect_product`] takes a product of functions of fewer slots each, and conditions on all slots but two.
//! * [`Cloud`] is for very many expectations of moderate accuracy: its points are shared.
//! * [`expect_powers`] takes polynomials with steps times negative powers of quadratic forms, as in batch norm, by a Gamma integral over tilted Gaussian laws.
//! * [`dual`](mod@dual) has closed forms for `E f(u) g(v)` with `f` and `g` from families that are closed under differentiation: rectified polynomials, error functions with Gaussians and polynomials (gelu among them), exponentials and waves.
//!
//! Every answer is an [`Estimate`]: value, error, method.
//! A tolerance is met or the estimate says that it was not; a value that is not finite is an error.
//!
//! ```
//! use netsor_gauss::{Covariance, Function, Tolerance, dual::{Activation, dual}, expect};
//!
//! // E relu(u) relu(v) for unit variances and correlation 1/2, by quadrature that knows the kinks ...
//! let f = Function::new(2, |points, out| {
//!     for (j, y) in out.iter_mut().enumerate() {
//!         *y = points[0][j].max(0.0) * points[1][j].max(0.0);
//!     }
//! })
//! .with_kinks(0, &[0.0])
//! .with_kinks(1, &[0.0]);
//! let c = Covariance::new(2, vec![1.0, 0.5, 0.5, 1.0])?;
//! let numeric = expect(&f, &c, &Tolerance::default())?;
//! assert!(numeric.met(&Tolerance::default()));
//!
//! // ... and in closed form: the arc-cosine kernel.
//! let relu = Activation::relu();
//! let exact = dual(&relu, &relu, 1.0, 0.5, 1.0).expect("rectified polynomials have closed forms")?;
//! assert!((numeric.value - exact.value).abs() <= numeric.error + exact.error);
//! # Ok::<(), netsor_gauss::GaussError>(())
//! ```

mod cloud;
mod conditional;
mod covariance;
mod directions;
pub mod dual;
mod error;
mod estimate;
mod existence;
mod expect;
mod integrand;
mod kinked;
mod landmark;
mod layers;
mod powers;
mod product;
mod proposal;
mod qmc;
mod radial;
mod roots;
mod smoothed;
mod symmetric;
mod tensor;
mod truncated;
mod wide;

pub use cloud::{Cloud, Functions};
pub use covariance::Covariance;
pub use error::GaussError;
pub use estimate::{Estimate, Method, Tolerance};
pub use existence::{check_existence, check_growth};
pub use expect::{expect, expect_product};
pub use integrand::{Function, Integrand};
pub use landmark::Landmark;
pub use powers::{PowerTerm, Quadratic, check_powers, expect_powers};
pub use product::Part;
