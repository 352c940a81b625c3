//! The program of the kernels `K^(2), K^(3), ..., K^(p)`.

use std::collections::BTreeMap;

use netsor_ir::network::Network;
use netsor_ir::program::{Program, ValueId};
use netsor_ir::transform::backprop::OutputAdjoint;
use netsor_ir::transform::kernels::OutputKernels;
use netsor_ir::transform::{Direction, DirectionMode, Tangents, hoist, kernels};
use netsor_ir::verify::{Verified, verify_program};

use crate::{NthError, check_smooth};

/// The highest order of a kernel: the size of the program grows by a factor with every order.
const MAX_ORDER: usize = 7;

/// A program with the network's output and the kernels of its hierarchy as scalar families.
///
/// `K^(r)` is a family over `r` copies of the output's indices (the points of the batch, then the component if there
/// is more than one).
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// The network's values unchanged, then adjoints, moments, kernels and tangents.
    pub program: Verified<Program>,
    /// The output `f`.
    pub output: ValueId,
    /// `K^(2), K^(3), ...` in order.
    pub kernels: Vec<ValueId>,
    /// The share of each trained parameter in `K^(2)`.
    pub parts: BTreeMap<ValueId, ValueId>,
    /// For bold kernels, `(nabla^k f)(g, .., g)` for `k = 1, 2, ..`; empty otherwise.
    pub derivatives: Vec<ValueId>,
    /// Whether directions moved with the parameters.
    pub mode: DirectionMode,
}

impl Hierarchy {
    /// The highest order `p`.
    pub fn order(&self) -> usize {
        self.kernels.len() + 1
    }

    /// The number of points: members of the output times its components.
    pub fn n_points(&self) -> usize {
        let size = |v| self.program.family_sizes(v).iter().product::<usize>();
        // K^(2) has the output's indices twice.
        (size(self.kernels[0]) as f64).sqrt().round() as usize
    }
}

/// The hierarchy of a network up to `K^(order)`: `K^(2)(a, b) = <grad f_a, grad f_b>` and
/// `K^(r+1)(.., b) = <grad K^(r)(..), grad f_b>` (NTH eqs. 9, 10). Inner products weigh each parameter by its rate, so
/// the kernels are those of gradient flow in the network's parametrization.
///
/// Cost of running it at width `m` on `n` points: `K^(r)` needs the tangents of every vector along `r - 2` directions,
/// `n^(r-1)` vectors a value, two products with a hidden matrix for each (`O(m^2 n^(r-1))`), and Gram moments
/// (`O(m n^r)`). No tangent is computed twice, a sum over the parameters is never formed, all directions go through a
/// matrix in one product, and a term of fewer indices is computed once ([`hoist()`]).
/// `cargo bench --bench hierarchy -- growth` measures the growth in `n`, `m` and `r`.
///
/// # Errors
/// An order outside `2 ..= 7`, a function that is not smooth, several outputs, or a network without backward pass.
pub fn hierarchy(network: &Verified<Network>, order: usize) -> Result<Hierarchy, NthError> {
    build(network, order, DirectionMode::Live)
}

/// The discrete-time kernels (bold K, NTH eq. 29): `bold K^(r)(a, b, c_1, ..) = (nabla^(r-2) K^(2)(a, b))(g_c1, ..)`
/// with the directions `g_c = grad f_c` held fixed; symmetric in the first two and in the other arguments.
/// `bold K^(2) = K^(2)` and `bold K^(3) = K^(3)`.
///
/// # Errors
/// As [`hierarchy`].
pub fn bold_hierarchy(network: &Verified<Network>, order: usize) -> Result<Hierarchy, NthError> {
    build(network, order, DirectionMode::Frozen)
}

/// The tangents of a network's kernels before anything is made fast: what [`hierarchy`] and
/// [`crate::limit_hierarchy`] have in common.
pub(crate) struct Tower {
    pub(crate) tangents: Tangents,
    /// The network's output, its first kernels and its gradient.
    pub(crate) output: OutputKernels,
    pub(crate) adjoint: OutputAdjoint,
    /// `K^(2), K^(3), ..`
    pub(crate) kernels: Vec<ValueId>,
    /// `(nabla^k f)(g, .., g)`, with frozen directions.
    pub(crate) derivatives: Vec<ValueId>,
}

/// The kernels up to an order.
pub(crate) fn tower(network: &Verified<Network>, order: usize, mode: DirectionMode) -> Result<Tower, NthError> {
    if !(2..=MAX_ORDER).contains(&order) {
        let expected = format!("between 2 and {MAX_ORDER}");
        return Err(NthError::Order { what: "the order of a kernel", expected, found: order });
    }
    if network.outputs.len() != 1 {
        return Err(NthError::Outputs { found: network.outputs.len() });
    }
    check_smooth(network)?;
    let mut first = kernels(network)?;
    let (output, adjoint) = (first.outputs.swap_remove(0), first.adjoints.swap_remove(0));
    let mut tangents = Tangents::new(first.program, Direction::new(network, &adjoint), mode);
    let mut all = vec![output.ntk];
    let mut derivatives = Vec::new();
    let (mut last, mut f) = (output.ntk, output.output);
    for _ in 2..order {
        match mode {
            DirectionMode::Live => last = tangents.apply(&[last])?[0],
            DirectionMode::Frozen => {
                let next = tangents.apply(&[last, f])?;
                (last, f) = (next[0], next[1]);
                derivatives.push(f);
            }
        }
        all.push(last);
    }
    Ok(Tower { tangents, output, adjoint, kernels: all, derivatives })
}

fn build(network: &Verified<Network>, order: usize, mode: DirectionMode) -> Result<Hierarchy, NthError> {
    let tower = tower(network, order, mode)?;
    // The network's own values keep their ids: inputs and weights are supplied by them.
    let (program, places) = hoist(&tower.tangents.program, network.program.values.len());
    let moved = |v: ValueId| places[v.index()];
    Ok(Hierarchy {
        program: verify_program(program).map_err(|d| NthError::Invalid(d.to_string()))?,
        output: moved(tower.output.output),
        kernels: tower.kernels.into_iter().map(moved).collect(),
        parts: tower.output.ntk_parts.iter().map(|(&parameter, &share)| (parameter, moved(share))).collect(),
        derivatives: tower.derivatives.into_iter().map(moved).collect(),
        mode,
    })
}
