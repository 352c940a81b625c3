//! Neural networks as tensor programs, and their infinite-width limits.
//!
//! A network is written once, as a tensor program: matrices, vectors and scalars at a width `n` that is left open.
//! From that one program come its training at a finite width, its kernels in the limit `n -> infinity`, and the
//! predictions of the limit.
//! This crate has no code of its own. It is the one dependency for people who want all of it, and a map:
//!
//! | module | question |
//! | --- | --- |
//! | [`ir`] | what is a program, how is it written, checked, differentiated, drawn? |
//! | [`zoo`] | which architectures are there already? |
//! | [`limit`] | what does it become as the width grows? |
//! | [`kernel`] | what are its kernels on a whole data set? |
//! | [`gauss`] | what is the expectation of this function of Gaussian variables? |
//! | [`finite`] | what does it do at width `n`, and how does it train? |
//! | [`nth`] | how do its kernels move in training, order by order in `1/n`? |
//! | [`predict`] | what does a kernel predict? |
//! | [`data`] | where do inputs come from? |
//!
//! Experiments, figures and the command line are in `netsor-lab` and `netsor-cli`, and are not part of this crate.
//!
//! # A network and its tangent kernel
//!
//! ```
//! use netsor::finite::{Inputs, Options, empirical_kernel};
//! use netsor::ir::{syntax::parse_network, transform::kernels, verify::verify_network};
//! use netsor::limit::{Data, Deriver, Evaluator, Tolerance};
//!
//! // One hidden layer, two inputs. `n` is the width, and stays a letter.
//! let network = verify_network(parse_network(
//!     "network mlp {
//!        axis i = 2
//!        data xi[i] : 2
//!        param U : n x 2 ~ N(0, 1/2)
//!        param v : n x 1 ~ N(0, 1/n)
//!        h[i] = U * xi[i]
//!        z[i] = relu(h[i])
//!        output f[i] = v' * z[i]
//!      }",
//! )?)?;
//! let inputs = vec![1.0, 0.0, 0.0, 1.0]; // two orthogonal unit vectors, row after row
//!
//! // Its kernels are moments of a program that `backprop` writes; the limit engine takes their limits.
//! let kernels = kernels(&network)?;
//! let mut deriver = Deriver::new(&kernels.program);
//! let ntk = deriver.scalar(kernels.outputs[0].ntk)?;
//! let graph = deriver.into_graph();
//! let xi = kernels.program.find("xi").expect("the data of the network");
//! let data = Data::new().with(xi, inputs.clone());
//! let mut evaluator = Evaluator::new(&graph, &kernels.program, &data, Tolerance::default())?;
//! let limit = evaluator.value(ntk, &[0, 1])?.value;
//! assert!((limit - 0.25 / std::f64::consts::PI).abs() < 1e-14);
//!
//! // The same program, run at width 4096, knows nothing of that.
//! let xi = network.program.find("xi").expect("the data of the network");
//! let inputs = Inputs::new().with(xi, inputs);
//! let measured = empirical_kernel::<f64>(&network, &inputs, &Options::new(4096, 1))?;
//! // An average of 4096 independent terms with standard deviation below 1/4: five standard errors.
//! assert!((measured[0].ntk[1] - limit).abs() < 5.0 * 0.25 / 64.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/kernel.rs` classifies handwritten digits with such a kernel; `tests/kernel.rs` shows how a project that
//! depends on this crate keeps a kernel under a snapshot test.

pub use netsor_data as data;
pub use netsor_finite as finite;
pub use netsor_gauss as gauss;
pub use netsor_ir as ir;
pub use netsor_kernel as kernel;
pub use netsor_limit as limit;
pub use netsor_nth as nth;
pub use netsor_predict as predict;
pub use netsor_zoo as zoo;

/// The Rust of README.md, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
