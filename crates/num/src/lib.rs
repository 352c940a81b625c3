//! Special functions, seeded random streams, quadrature rules and low-discrepancy points.
//!
//! Everything in Netsor that turns a real number into another one goes through this crate, so that the same inputs give the same bits on every platform: transcendental functions come from `libm` (software, not the platform's), random numbers from ChaCha with keys that are a hash of their purpose, sums run in an order that does not depend on the number of threads.
//! It knows no programs and no expectations.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`real`] | the trait [`Real`], implemented by `f32` and `f64` |
//! | [`special`] | erf, tanh, softplus, gelu and the other functions of the language |
//! | [`functions`] | the same functions, looked up by the name that a program uses |
//! | [`normal`] | density, distribution and quantiles of the normal law, in one and two dimensions |
//! | [`streams`] | independent random streams from one seed |
//! | [`sobol`] | Owen-scrambled Sobol' points in any dimension |
//! | [`quadrature`] | Gauss-Legendre and Gauss-Hermite rules, the trapezoid rule on the line, adaptive integration |
//! | [`sum`] | sums in a fixed order |
//! | [`ode`] | ordinary differential equations under error control |
//!
//! ```
//! use netsor_num::{functions, normal, quadrature::gauss_legendre, streams::Streams};
//!
//! // The variance of tanh of a standard normal variable, by a rule of 80 points on [-9, 9] ...
//! let tanh = functions::unary::<f64>("tanh").unwrap();
//! let by_rule = gauss_legendre(80).integrate(-9.0, 9.0, |x| normal::pdf(x) * tanh(x) * tanh(x));
//!
//! // ... and by random draws.
//! let mut rng = Streams::new(7).stream("example", 0);
//! let mut z = vec![0.0; 100_000];
//! netsor_num::streams::fill_normal(&mut rng, &mut z);
//! let by_draws = z.iter().map(|x| tanh(*x) * tanh(*x)).sum::<f64>() / z.len() as f64;
//! assert!((by_rule - by_draws).abs() < 4.0 * 0.3 / (z.len() as f64).sqrt());
//! ```

mod branchless;
pub mod functions;
pub mod normal;
pub mod ode;
pub mod quadrature;
pub mod real;
pub mod sobol;
pub mod special;
pub mod streams;
pub mod sum;

pub use real::Real;
