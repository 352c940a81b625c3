//! A kernel as a function of hyper-parameters, with its derivatives.

use netsor_ir::transform::Kernels;
use netsor_ir::{ExprId, Program, ValueId};
use netsor_limit::{Datum, Deriver, Graph};

use crate::error::KernelError;
use crate::lower::{Query, Shared, lower_with};
use crate::plan::Plan;

/// Which kernel of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The tangent kernel.
    Ntk,
    /// The covariance at initialisation.
    Nngp,
}

/// The kernel of a network's first output (its first component) and its derivatives with respect to scalar data: the
/// factors of [`tunable`](netsor_ir::transform::tunable()), or numbers of formulas such as `data slope`.
///
/// The moment graph is derived once; each choice of numbers is lowered to a plan of its own, which takes little beside a
/// run over data.
///
/// ```
/// use netsor_ir::transform::{HyperParameter, tunable};
/// use netsor_kernel::{Inputs, Options, TunableKernel, Which};
/// use netsor_zoo::{Activation, Mlp};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = Mlp { dim: 2, hidden: 1, activation: Activation::Relu, ..Mlp::default() }.network()?;
/// let tunable = tunable(&network, &[HyperParameter::weights(&network)])?;
/// let kernels = tunable.kernels()?;
/// let kernel = TunableKernel::new(&kernels, Which::Nngp, &tunable.factors)?;
///
/// let xi = kernels.program.find("xi").ok_or("the input is called xi")?;
/// let x = [1.0, 0.0, 0.6, 0.8];
/// let matrices = kernel.plan(&[1.5])?.run(&Inputs::new(2).with(xi, &x[..]), None, &Options::default())?;
/// // Two layers of weights, each squared: K(c) = c^4 K(1).
/// let (k, slope) = (&matrices.values[0], &matrices.values[1]);
/// assert!(k.iter().zip(slope).all(|(k, slope)| (1.5 * slope - 4.0 * k).abs() < 1e-13));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TunableKernel {
    program: Program,
    graph: Graph,
    by: Vec<ValueId>,
    /// The kernel, then its derivatives.
    queries: Vec<Query>,
}

impl TunableKernel {
    /// Derives the kernel and its derivatives.
    ///
    /// # Errors
    /// If there is no such kernel, or no limit or no derivative of it.
    pub fn new(kernels: &Kernels, which: Which, by: &[ValueId]) -> Result<Self, KernelError> {
        let program = kernels.program.clone();
        let missing = || KernelError::NoKernel { which: format!("{which:?}").to_lowercase() };
        let output = kernels.outputs.first().ok_or_else(missing)?;
        let value = match which {
            Which::Ntk => output.ntk,
            Which::Nngp => output.nngp.ok_or_else(missing)?,
        };
        let n_axes = output.indices.len();
        let mut deriver = Deriver::new(&program);
        let kernel = deriver.scalar(value)?;
        let query = |name: String, expr: ExprId| Query::component(name, expr, n_axes, &[], &[]);
        let mut queries = vec![query("kernel".to_owned(), kernel)];
        for &datum in by {
            let derivative = deriver.with_respect_to(Datum::scalar(datum))?.derivative(kernel)?;
            queries.push(query(format!("derivative in {}", program.value(datum).name), derivative));
        }
        let graph = deriver.into_graph();
        Ok(Self { program, graph, by: by.to_vec(), queries })
    }

    /// The plan of the kernel and of its derivatives, in this order, with numbers for the scalars.
    ///
    /// # Errors
    /// As for [`lower_with`], and if there is not one number a scalar.
    pub fn plan(&self, at: &[f64]) -> Result<Plan, KernelError> {
        self.lowered(&self.queries, at)
    }

    /// The plan of the kernel alone.
    ///
    /// # Errors
    /// As for [`TunableKernel::plan`].
    pub fn plan_of_value(&self, at: &[f64]) -> Result<Plan, KernelError> {
        self.lowered(&self.queries[..1], at)
    }

    fn lowered(&self, queries: &[Query], at: &[f64]) -> Result<Plan, KernelError> {
        if at.len() != self.by.len() {
            return Err(KernelError::Numbers { expected: self.by.len(), found: at.len() });
        }
        let shared: Shared = self.by.iter().zip(at).map(|(&value, &x)| (value, vec![x])).collect();
        lower_with(&self.graph, &self.program, queries, &shared)
    }
}
